#include "client/runner/llama/context_params.h"

namespace logitd::runner {

llama_context_params ContextParams(const ContextShape& shape, int threads) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(shape.cells);
  params.n_batch = kChunkTokens;
  params.n_ubatch = kChunkTokens;
  params.n_seq_max = static_cast<uint32_t>(shape.sequences);
  // One buffer for all sequences. Otherwise each would get a fixed share of the cache, and a fork would copy it.
  params.kv_unified = true;
  // With a window over the past tokens only, a sequence could not be cut.
  params.swa_full = true;
  params.no_perf = true;
  params.n_threads = threads;
  params.n_threads_batch = threads;
  if (shape.f32) {
    // Otherwise the cache rounds keys and values to f16, and a token's log-prob depends on its batch by 0.008 nats.
    params.type_k = GGML_TYPE_F32;
    params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  }
  return params;
}

}  // namespace logitd::runner
