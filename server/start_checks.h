// What a start with a model would fail on, and can be known without one: the model's file and the folder of converted
// weights.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_SERVER_START_CHECKS_H_
#define LOGITD_SERVER_START_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace logitd::server {

// Whether `path` is a language model in GGUF, by its header, and as long as that says. `origin`: where it was given, as
// errors begin. Errors: UNAVAILABLE. What else may be wrong with it, the runner says when it reads all of it.
absl::Status CheckModelFile(const std::string& origin, const std::string& path);

// Whether the model was trained with so long a context. A file that does not say so is the runner's to judge.
// Errors: INVALID_ARGUMENT. REQUIRES: CheckModelFile(model_file) is OK.
absl::Status CheckContextLength(const std::string& origin, int32_t context_length, const std::string& model_file);

// Whether weights that must be converted first have a place: a file can be made in the cache folder (one is made, and
// taken away), or it holds this model's converted weights already. `precision`: as the option has it; "auto" converts
// the default model alone. Errors: UNAVAILABLE. REQUIRES: CheckModelFile(model_file) is OK.
absl::Status CheckCacheDir(const std::string& origin, const std::string& cache_dir, const std::string& model_file,
                           const std::string& precision);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_START_CHECKS_H_
