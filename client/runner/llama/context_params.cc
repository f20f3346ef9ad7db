#include "client/runner/llama/context_params.h"

#include <string_view>

namespace logitd::runner {
namespace {

// Whether flash attention is exact in f32. It takes the mask in f16: 0 and -inf, or with ALiBi the distances, of which
// those above 2,048 would be rounded. Models with ALiBi have no rotations, or are baichuan's.
bool HasExactMask(const llama_model* model) {
  char architecture[64] = "";
  llama_model_meta_val_str(model, "general.architecture", architecture, sizeof(architecture));
  return llama_model_rope_type(model) != LLAMA_ROPE_TYPE_NONE && std::string_view(architecture) != "baichuan";
}

}  // namespace

llama_context_params ContextParams(const llama_model* model, const ContextShape& shape, int threads) {
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
    // Flash attention leaves out the cells of other sequences; without it every token pays for all that is cached.
    params.flash_attn_type = HasExactMask(model) ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  }
  return params;
}

}  // namespace logitd::runner
