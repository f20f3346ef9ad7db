#include "client/runner/llama/llama_vocabulary.h"

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "absl/strings/str_replace.h"

namespace logitd::runner {
namespace {

// The server refuses longer tokens.
constexpr size_t kMaxTokenBytes = 1 << 16;

}  // namespace

std::string TokenPiece(const llama_vocab* vocab, TokenId token_id, bool render_special_tokens) {
  std::string piece(64, '\0');
  int32_t size = llama_token_to_piece(vocab, token_id, piece.data(), static_cast<int32_t>(piece.size()), /*lstrip=*/0,
                                      render_special_tokens);
  if (size < 0) {
    piece.resize(-size);
    size = llama_token_to_piece(vocab, token_id, piece.data(), static_cast<int32_t>(piece.size()), 0,
                                render_special_tokens);
  }
  piece.resize(std::max(size, 0));
  return piece;
}

v1::Vocabulary VocabularyOf(const llama_vocab* vocab) {
  v1::Vocabulary vocabulary;
  const int32_t vocab_size = llama_vocab_n_tokens(vocab);
  for (TokenId token_id = 0; token_id < vocab_size; ++token_id) {
    const llama_token_attr attributes = llama_vocab_get_attr(vocab, token_id);
    const bool is_control = (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0;
    // The name, for a control token.
    std::string piece = TokenPiece(vocab, token_id, /*render_special_tokens=*/is_control);
    if (piece.size() > kMaxTokenBytes) piece.clear();
    if (is_control) {
      vocabulary.add_control_token_ids(token_id);
    } else if (attributes & LLAMA_TOKEN_ATTR_UNUSED) {
      vocabulary.add_unused_token_ids(token_id);
    }
    vocabulary.add_token_lengths(static_cast<int32_t>(piece.size()));
    vocabulary.mutable_token_bytes()->append(piece);
  }
  return vocabulary;
}

bool TokensSpellText(const llama_vocab* vocab, const v1::Vocabulary& vocabulary) {
  switch (llama_vocab_type(vocab)) {
    case LLAMA_VOCAB_TYPE_SPM:
    case LLAMA_VOCAB_TYPE_BPE:
    case LLAMA_VOCAB_TYPE_RWKV:
      break;
    default:
      // The other types normalise, or have no bytes for text that they do not know.
      return false;
  }
  // llama.cpp leaves out bytes without a token, so every byte needs one, except bytes that never occur in UTF-8.
  std::bitset<256> bytes;
  for (const int byte : {0xC0, 0xC1}) bytes.set(static_cast<size_t>(byte));
  for (size_t byte = 0xF5; byte <= 0xFF; ++byte) bytes.set(byte);
  size_t begin = 0;
  for (TokenId token_id = 0; token_id < vocabulary.token_lengths_size(); ++token_id) {
    const int32_t length = vocabulary.token_lengths(token_id);
    const llama_token_attr attributes = llama_vocab_get_attr(vocab, token_id);
    const bool is_control = (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0;
    if (length == 1 && !is_control) bytes.set(static_cast<unsigned char>(vocabulary.token_bytes()[begin]));
    begin += static_cast<size_t>(length);
    // Such a token removes the spaces beside it.
    const bool strips = (attributes & (LLAMA_TOKEN_ATTR_LSTRIP | LLAMA_TOKEN_ATTR_RSTRIP)) != 0;
    if (strips && !is_control) return false;
  }
  if (!bytes.all()) return false;
  // Some vocabularies of these types still drop spaces or normalise. SentencePiece takes U+2581 for a space, which the
  // capability allows.
  constexpr std::string_view kProbe = "  A \n\n\tb\u00a0 e\u0301 \u00c9 \ufb01 \u3000.\u2581\r\n 12  ";
  llama_token ids[4 * kProbe.size()];
  const int32_t count = llama_tokenize(vocab, kProbe.data(), static_cast<int32_t>(kProbe.size()), ids,
                                       static_cast<int32_t>(std::size(ids)), /*add_special=*/false,
                                       /*parse_special=*/false);
  std::string spelled;
  for (int32_t i = 0; i < count; ++i) spelled += TokenPiece(vocab, ids[i], /*render_special_tokens=*/false);
  const auto with_spaces = [](const std::string& text) { return absl::StrReplaceAll(text, {{"\u2581", " "}}); };
  return with_spaces(spelled).ends_with(with_spaces(std::string(kProbe)));
}

bool AddsSpacePrefix(const llama_vocab* vocab) {
  // llama.cpp's C interface does not tell, so it is tried out.
  llama_token probe[8];
  const int32_t count = llama_tokenize(vocab, "a", 1, probe, 8, /*add_special=*/false, /*parse_special=*/false);
  return count > 0 && TokenPiece(vocab, probe[0], /*render_special_tokens=*/false).rfind(' ', 0) == 0;
}

bool GuessesPreTokenizer(const llama_model* model) {
  return llama_vocab_type(llama_model_get_vocab(model)) == LLAMA_VOCAB_TYPE_BPE &&
         llama_model_meta_val_str(model, "tokenizer.ggml.pre", nullptr, 0) < 0;
}

}  // namespace logitd::runner
