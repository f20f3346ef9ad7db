// How logitd-llama sets up a llama_context. One place, so that what is measured is what is made.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_PARAMS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_PARAMS_H_

#include <cstdint>

#include "llama.h"

namespace logitd::runner {

// Tokens given to llama.cpp at once. Larger is hardly faster on a CPU, and the memory for activations and for the rows
// of such a chunk (vocab_size * 4 bytes each) grows with it.
inline constexpr int kChunkTokens = 128;

struct ContextShape {
  // Tokens in all sequences' caches together.
  int64_t cells = 0;
  int sequences = 1;
  // Weights, cache and attention in f32.
  bool f32 = false;
};

llama_context_params ContextParams(const ContextShape& shape, int threads);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CONTEXT_PARAMS_H_
