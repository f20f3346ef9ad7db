// Checks before a start with a model: the model's file and the folder of converted weights.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_SERVER_START_CHECKS_H_
#define LOGITD_SERVER_START_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace logitd::server {

// Checks by its header that `path` is a language model in GGUF, and that it is as long as the header says. The runner
// finds other faults when it reads the whole file. Errors begin with `origin`, where the path was given: UNAVAILABLE.
absl::Status CheckModelFile(const std::string& origin, const std::string& path);

// Checks that the model was trained with a context of this length. If the file does not say, the runner decides.
// Errors: INVALID_ARGUMENT. REQUIRES: CheckModelFile(model_file) is OK.
absl::Status CheckContextLength(const std::string& origin, int32_t context_length, const std::string& model_file);

// Checks that converted weights have a place: the cache folder is writable (this makes a file and removes it), or it
// already holds this model's converted weights. `precision` is the option's value; "auto" converts only the default
// model. Errors: UNAVAILABLE. REQUIRES: CheckModelFile(model_file) is OK.
absl::Status CheckCacheDir(const std::string& origin, const std::string& cache_dir, const std::string& model_file,
                           const std::string& precision);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_START_CHECKS_H_
