// What libllama itself says, without a line of logitd: the log-prob of each token of a text, after the first.
//
//   llama_reference MODEL.gguf --tokens 504,2644,3315   ->   {"log_probs": [-13.99, -8.91]}
//
// One sequence, one batch, the file's weights as they are (give it an f32 file to compare with f32), f32 cache, no
// flash attention, log-softmax in double.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "llama.h"

namespace {

double LogProb(const float* row, int vocab_size, int token) {
  const double max = *std::max_element(row, row + vocab_size);
  double sum = 0;
  for (int i = 0; i < vocab_size; ++i) sum += std::exp(row[i] - max);
  return row[token] - max - std::log(sum);
}

int Fail(const char* what) {
  std::fprintf(stderr, "llama_reference: %s\n", what);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || std::strcmp(argv[2], "--tokens") != 0) return Fail("usage: MODEL.gguf --tokens ID,ID,...");
  std::vector<llama_token> tokens;
  for (const char* next = argv[3]; *next != '\0';) {
    char* end = nullptr;
    tokens.push_back(static_cast<llama_token>(std::strtol(next, &end, 10)));
    if (end == next) return Fail("--tokens must be numbers and commas");
    next = *end == ',' ? end + 1 : end;
  }
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) return Fail("cannot load the model");
  const int vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model));

  llama_context_params params = llama_context_default_params();
  const auto count = static_cast<uint32_t>(tokens.size());
  params.n_ctx = count;
  params.n_batch = count;
  params.n_ubatch = count;
  // llama.cpp's threads spin while they wait for each other: on a busy machine one is the fastest.
  params.n_threads = 1;
  params.n_threads_batch = 1;
  params.type_k = GGML_TYPE_F32;
  params.type_v = GGML_TYPE_F32;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return Fail("cannot create a context");
  llama_batch batch = llama_batch_init(static_cast<int32_t>(count), 0, 1);
  for (uint32_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) return Fail("a token id is not in the vocabulary");
    batch.token[i] = tokens[i];
    batch.pos[i] = static_cast<llama_pos>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
    ++batch.n_tokens;
  }
  if (llama_decode(context, batch) != 0) return Fail("llama_decode failed");
  std::printf("{\"log_probs\": [");
  for (uint32_t i = 0; i + 1 < count; ++i) {
    const float* row = llama_get_logits_ith(context, static_cast<int32_t>(i));
    std::printf("%s%.9f", i == 0 ? "" : ", ", LogProb(row, vocab_size, tokens[i + 1]));
  }
  std::printf("]}\n");
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
  llama_backend_free();
}
