// Recognises the kind of a file that somebody gave as a model. For every kind except a language model in GGUF, a
// sentence names the kind and the remedy.
//
//   RETURN_IF_ERROR(CheckModelFile("model.gguf"));
//   // model file model.gguf is a Git LFS pointer, not the model that it stands for: run `git lfs pull` ...
//
// Works without llama.cpp: logitd --check-config calls it, and so does logitd-llama before it reads more.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_HOST_FILE_KIND_H_
#define LOGITD_HOST_FILE_KIND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::host {

// Checks by its first bytes and its header that the file may be a language model in GGUF, and that it is as long as its
// tensors need. Reads no more than the header. OK does not mean that llama.cpp knows the architecture, nor that the
// tensors are those that it expects.
// Errors, in one sentence that names the file: NOT_FOUND if it does not exist, else INVALID_ARGUMENT.
absl::Status CheckModelFile(const std::string& path);

// The files of a model that was split into parts, `path` first; {path} if it was not split.
// REQUIRES: CheckModelFile(path) is OK.
std::vector<std::string> PartsOf(const std::string& path);

}  // namespace logitd::host

#endif  // LOGITD_HOST_FILE_KIND_H_
