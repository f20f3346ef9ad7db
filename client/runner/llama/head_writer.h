// Writes the head of a GGUF model, its last layer, as a safetensors stream: what `logitd --head NAME=FILE.gguf` reads.
//
//   logitd-llama --write-head model.gguf > head.safetensors
//
//   weight       F32 [V, d]   output.weight, or token_embd.weight where the model's embeddings are its output matrix
//   bias         F32 [V]      output.bias, if the architecture has one
//   output_norm  F32 [d]      if the norm before the head is an RMS norm
//   __metadata__: source_dtype, weight_name, norm_eps, logit_scale, soft_cap
//
// The weights are those that llama.cpp dequantises. A logit scale and final soft-capping are written for architectures
// whose meaning of them is known here (kArchitectures in the .cc, each checked in llama.cpp's source); a model of any
// other architecture is refused by name.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_HEAD_WRITER_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_HEAD_WRITER_H_

#include <cstdio>
#include <string>

#include "absl/status/status.h"

namespace logitd::runner {

// The argument before the model's file that makes logitd-llama do this, and nothing else.
inline constexpr char kWriteHeadFlag[] = "--write-head";

// Errors: INVALID_ARGUMENT, NOT_FOUND, in a sentence that names the file; UNAVAILABLE if it cannot be read, or `out`
// cannot be written. REQUIRES: InstallLlamaLog has been called.
absl::Status WriteHead(const std::string& model_file, std::FILE* out);

// WriteHead to standard output, as a program: the exit status, with the reason on standard error.
int RunWriteHead(const std::string& model_file);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_HEAD_WRITER_H_
