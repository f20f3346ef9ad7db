// The hash that identifies a model's file.
#ifndef LOGITD_HOST_FILE_HASH_H_
#define LOGITD_HOST_FILE_HASH_H_

#include <string>

#include "absl/status/statusor.h"

namespace logitd::host {

// SHA-256, 32 bytes, of the file, or of all parts of a split model. Reads all of it.
// REQUIRES: CheckModelFile(path) is OK. Errors: UNAVAILABLE if a part cannot be read. Thread-safe.
absl::StatusOr<std::string> HashModelFile(const std::string& path);

}  // namespace logitd::host

#endif  // LOGITD_HOST_FILE_HASH_H_
