// The tokens of a model: the bytes and the kind of each.
//
//   vocabulary.TokenBytes(id);  // " Paris"; empty for a control token
//   vocabulary.Name(id);        // "<|im_end|>" of a control token
//
// Views point into the vocabulary. Thread-safe once made.
#ifndef LOGITD_CORE_VOCABULARY_H_
#define LOGITD_CORE_VOCABULARY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace logitd {

// kControl: a token with a name and no text. kUnused: an id without a token. Numbers are those of logitd.v1.TokenKind.
enum class TokenKind : uint8_t { kText = 1, kControl = 2, kUnused = 3 };

struct Vocabulary {
  // The bytes of all tokens, one after the other; for a control token, its name.
  std::string bytes;
  // [vocab_size + 1]: token i has bytes [offsets[i], offsets[i + 1]). Empty if the runner does
  // not send its vocabulary.
  std::vector<int64_t> offsets;
  // Length of the longest text token, bytes.
  int64_t longest_token_bytes = 0;
  // [vocab_size]. Empty: every token is text.
  std::vector<TokenKind> kinds = {};

  // REQUIRES: id >= 0.
  TokenKind Kind(TokenId id) const {
    return static_cast<size_t>(id) < kinds.size() ? kinds[static_cast<size_t>(id)] : TokenKind::kText;
  }
  // The token's bytes in a text; empty for a control token, a negative id, and an id beyond the vocabulary.
  std::string_view TokenBytes(TokenId id) const {
    return id >= 0 && Kind(id) != TokenKind::kControl ? Slice(id) : std::string_view();
  }
  // The name of a control token; empty for every other id.
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
