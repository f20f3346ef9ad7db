// What a model's tokens are.
#ifndef LOGITD_CORE_VOCABULARY_H_
#define LOGITD_CORE_VOCABULARY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace logitd {

// What a token is. Numbers as logitd.v1.TokenKind.
enum class TokenKind : uint8_t { kText = 1, kControl = 2, kUnused = 3 };

// The bytes of a model's tokens, and what each is.
struct Vocabulary {
  // Of a control token: its name.
  std::string bytes;
  // [vocab_size + 1]: token i has bytes [offsets[i], offsets[i + 1]). Empty: the runner does not tell its vocabulary.
  std::vector<int64_t> offsets;
  // Bytes of the longest token that has any in a text.
  int64_t longest_token_bytes = 0;
  // [vocab_size]. Empty: all stand for text.
  std::vector<TokenKind> kinds = {};

  // REQUIRES: id >= 0, as in all of them.
  TokenKind Kind(TokenId id) const {
    return static_cast<size_t>(id) < kinds.size() ? kinds[static_cast<size_t>(id)] : TokenKind::kText;
  }
  // Its bytes in a text.
  std::string_view TokenBytes(TokenId id) const {
    return id >= 0 && Kind(id) != TokenKind::kControl ? Slice(id) : std::string_view();
  }
  // The text that stands for a control token; empty: none, or it is another token.
  std::string_view Name(TokenId id) const {
    return id >= 0 && Kind(id) == TokenKind::kControl ? Slice(id) : std::string_view();
  }

 private:
  std::string_view Slice(TokenId id) const {
    if (static_cast<size_t>(id) + 1 >= offsets.size()) return {};
    return std::string_view(bytes).substr(offsets[id], offsets[id + 1] - offsets[id]);
  }
};

}  // namespace logitd

#endif  // LOGITD_CORE_VOCABULARY_H_
