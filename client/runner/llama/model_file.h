// A GGUF file on disk: whether it is whole, what it holds, and its hash.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_MODEL_FILE_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_MODEL_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::runner {

struct ModelFile {
  std::string path;
  // Bytes, of all parts of a split model.
  int64_t size = 0;
  // Bytes of the weights.
  int64_t tensor_bytes = 0;
  // Every matrix is F32 (vectors, e.g. norms, are widened exactly and do not count); every one is F32 or F16.
  bool all_f32 = false;
  bool all_f32_or_f16 = false;
};

// Whether it is a language model in GGUF (host/file_kind.h); then reads the header and compares what it describes with
// the file's size, because llama.cpp maps the file and dies of a signal when it touches a page that is not there.
// Errors: kNotFound, kInvalidArgument, each one line that names the file and what to do.
absl::StatusOr<ModelFile> InspectModelFile(const std::string& path);

// Why llama.cpp cannot load a model, for people, from its error message: an architecture, tokenizer or type of weights
// that this version does not know is named, with the version.
std::string WhyLlamaCannot(const std::string& error);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_MODEL_FILE_H_
