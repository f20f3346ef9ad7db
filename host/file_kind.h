// What kind of file somebody gave as a model: for every kind that is no language model in GGUF, a sentence that says
// what the file is and what to do.
//
//   RETURN_IF_ERROR(CheckModelFile("model.gguf"));
//   // model file model.gguf is a Git LFS pointer, not the model that it stands for: run `git lfs pull` ...
//
// For both programs, without llama.cpp: logitd --check-config asks it, and so does logitd-llama before it reads more.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_HOST_FILE_KIND_H_
#define LOGITD_HOST_FILE_KIND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::host {

// Whether the file may be a language model in GGUF, by its first bytes and by what its header says. At most the header
// is read; the file must be as long as the tensors need that it describes. OK does not mean that llama.cpp knows the
// architecture, nor that these are the tensors that it expects.
// Errors: NOT_FOUND if there is no such file, else INVALID_ARGUMENT; one sentence that names the file.
absl::Status CheckModelFile(const std::string& path);

// The files of a model that was split into parts, `path` first; {path} if it was not split.
// REQUIRES: CheckModelFile(path) is OK.
std::vector<std::string> PartsOf(const std::string& path);

}  // namespace logitd::host

#endif  // LOGITD_HOST_FILE_KIND_H_
