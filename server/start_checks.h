// What a start with a model would fail on, and can be known without one: the model's file and the folder of converted
// weights.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_SERVER_START_CHECKS_H_
#define LOGITD_SERVER_START_CHECKS_H_

#include <string>

#include "absl/status/status.h"

namespace logitd::server {

// Whether `path` is a file that can be read and begins as GGUF files do. `origin`: where it was given, as errors begin.
// Errors: UNAVAILABLE. What else may be wrong with it, the runner says when it reads all of it.
absl::Status CheckModelFile(const std::string& origin, const std::string& path);

// Whether weights that must be converted first have a place: the cache folder can be written, or made, or holds
// converted weights already. `precision`: as the option has it; "auto" converts the default model alone.
// Errors: UNAVAILABLE. REQUIRES: CheckModelFile(model_file) is OK.
absl::Status CheckCacheDir(const std::string& origin, const std::string& cache_dir, const std::string& model_file,
                           const std::string& precision);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_START_CHECKS_H_
