// How logitd-llama sets up a llama_context. All contexts are made here, so that measurements hold for the real one.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_PARAMS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_PARAMS_H_

#include <cstdint>

#include "llama.h"

namespace logitd::runner {

// Tokens given to llama.cpp at once. More are hardly faster on a CPU, and need more memory for activations and for rows
// (vocab_size * 4 bytes each).
inline constexpr int kChunkTokens = 128;

struct ContextShape {
  // Tokens in the caches of all sequences together.
  int64_t cells = 0;
  int sequences = 1;
  // Weights, cache and attention are f32.
  bool f32 = false;
};

// The instruction set that scripts/build-llama compiles for: the same code runs on every CPU that has it.
inline constexpr char kCpuTarget[] = "x86-64-v3";

// The parameters of a context of `model`.
llama_context_params ContextParams(const llama_model* model, const ContextShape& shape, int threads);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_PARAMS_H_
