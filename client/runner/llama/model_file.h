// A GGUF file on disk: whether it is complete, and what it holds.
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
  // Bytes of all parts of a split model.
  int64_t size = 0;
  // Bytes of the weights.
  int64_t tensor_bytes = 0;
  // Every matrix is F32; every matrix is F32 or F16. Vectors, such as norms, do not count, because they are widened
  // exactly.
  bool all_f32 = false;
  bool all_f32_or_f16 = false;
};

// Checks that the file is a language model in GGUF (host/file_kind.h), reads its header and compares the header with
// the file's size. llama.cpp maps the file, and would die of a signal when it touched a page that is not there.
// Errors: kNotFound, kInvalidArgument; one line each, which names the file and says what to do.
absl::StatusOr<ModelFile> InspectModelFile(const std::string& path);

// Explains to people why llama.cpp cannot load a model, from its error message. Names the architecture, tokenizer or
// type of weights that this version does not know, and the version.
std::string WhyLlamaCannot(const std::string& error);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_MODEL_FILE_H_
