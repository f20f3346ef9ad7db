#include "client/runner/llama/special_tokens.h"

#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>

#include "client/runner/llama/llama_log.h"

namespace logitd::runner {
namespace {

constexpr char kBosKey[] = "tokenizer.ggml.bos_token_id";
constexpr char kEosKey[] = "tokenizer.ggml.eos_token_id";

// Returns the id under `key` in the file. If that is not a token, adds to `warnings`.
std::optional<TokenId> IdOf(const llama_model* model, const char* key, std::vector<std::string>& warnings) {
  char text[64] = {};
  if (llama_model_meta_val_str(model, key, text, sizeof(text)) < 0) return std::nullopt;
  int64_t id = -1;
  std::from_chars(text, text + std::strlen(text), id);
  const int32_t vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model));
  if (id >= 0 && id < vocab_size) return static_cast<TokenId>(id);
  // A warning must not repeat arbitrary bytes of the file.
  const bool is_number = text[std::strspn(text, "-0123456789")] == '\0';
  warnings.push_back(std::string("the file has ") + key + " = " + (is_number ? text : "what is no number") +
                     ", outside its vocabulary of " + std::to_string(vocab_size) + " tokens: taken as unset");
  return std::nullopt;
}

// Whether `id`, llama.cpp's own choice of EOS, would end a text if another token were EOS: its text then says so.
bool EndsByItsText(const std::string& path, TokenId id, int32_t vocab_size) {
  llama_model_kv_override overrides[2] = {};
  overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_INT;
  std::snprintf(overrides[0].key, sizeof(overrides[0].key), "%s", kEosKey);
  overrides[0].val_i64 = (id + 1) % vocab_size;
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  params.kv_overrides = overrides;
  QuietLlamaLog quiet;
  std::unique_ptr<llama_model, decltype(&llama_model_free)> other(llama_model_load_from_file(path.c_str(), params),
                                                                  &llama_model_free);
  return other != nullptr && vocab_size > 1 && llama_vocab_is_eog(llama_model_get_vocab(other.get()), id);
}

}  // namespace

SpecialTokens ReadSpecialTokens(const llama_model* model, const std::string& path) {
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const int32_t vocab_size = llama_vocab_n_tokens(vocab);
  SpecialTokens tokens;
  tokens.bos = IdOf(model, kBosKey, tokens.warnings);
  tokens.adds_bos = tokens.bos.has_value() && llama_vocab_get_add_bos(vocab);
  tokens.eos = IdOf(model, kEosKey, tokens.warnings);
  // llama.cpp's own choice; -1: none.
  TokenId made_up = tokens.eos ? -1 : llama_vocab_eos(vocab);
  if (made_up >= 0 && EndsByItsText(path, made_up, vocab_size)) made_up = -1;
  for (TokenId id = 0; id < vocab_size; ++id) {
    // The file's EOS ends a text, even if llama.cpp leaves it out of its set.
    if (id != made_up && (id == tokens.eos || llama_vocab_is_eog(vocab, id))) tokens.end_of_generation.push_back(id);
  }
  return tokens;
}

}  // namespace logitd::runner
