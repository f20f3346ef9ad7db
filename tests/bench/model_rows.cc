// Real rows: the logits of a model after each token of a text.
//
//   model_rows MODEL.gguf COUNT < TEXT > ROWS      -> COUNT rows of f32, little endian; says "COUNT VOCAB_SIZE" on
//                                                     standard error
//
// The text must have COUNT tokens or more. A window of 256 tokens at a time; the first rows of each have little
// context.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "llama.h"

namespace {

constexpr int kWindow = 256;

int Fail(const char* what) {
  std::fprintf(stderr, "model_rows: %s\n", what);
  return 1;
}

std::string ReadAll(std::FILE* file) {
  std::string text;
  char buffer[1 << 16];
  while (const size_t count = std::fread(buffer, 1, sizeof(buffer), file)) text.append(buffer, count);
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return Fail("usage: MODEL.gguf COUNT < TEXT > ROWS");
  const long wanted = std::strtol(argv[2], nullptr, 10);
  if (wanted < 1) return Fail("COUNT must be at least 1");
  const auto count = static_cast<size_t>(wanted);
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) return Fail("cannot load the model");
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const int vocab_size = llama_vocab_n_tokens(vocab);

  const std::string text = ReadAll(stdin);
  std::vector<llama_token> tokens(text.size() + 8);
  const int token_count = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                                         static_cast<int32_t>(tokens.size()), true, false);
  if (token_count < 0 || static_cast<size_t>(token_count) < count) return Fail("the text has too few tokens");
  tokens.resize(count);

  llama_context_params params = llama_context_default_params();
  params.n_ctx = kWindow;
  params.n_batch = kWindow;
  params.n_ubatch = kWindow;
  params.n_threads = 1;
  params.n_threads_batch = 1;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return Fail("cannot create a context");
  llama_batch batch = llama_batch_init(kWindow, 0, 1);
  for (size_t start = 0; start < tokens.size(); start += kWindow) {
    llama_memory_clear(llama_get_memory(context), true);
    batch.n_tokens = 0;
    for (size_t i = start; i < std::min(tokens.size(), start + kWindow); ++i) {
      batch.token[batch.n_tokens] = tokens[i];
      batch.pos[batch.n_tokens] = batch.n_tokens;
      batch.n_seq_id[batch.n_tokens] = 1;
      batch.seq_id[batch.n_tokens][0] = 0;
      batch.logits[batch.n_tokens] = 1;
      ++batch.n_tokens;
    }
    if (llama_decode(context, batch) != 0) return Fail("llama_decode failed");
    for (int32_t i = 0; i < batch.n_tokens; ++i) {
      const auto size = static_cast<size_t>(vocab_size);
      if (std::fwrite(llama_get_logits_ith(context, i), sizeof(float), size, stdout) != size) {
        return Fail("cannot write");
      }
    }
  }
  std::fprintf(stderr, "%zu %d\n", count, vocab_size);
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
  llama_backend_free();
}
