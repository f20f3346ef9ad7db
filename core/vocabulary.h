// The bytes of a model's tokens.
#ifndef LOGITD_CORE_VOCABULARY_H_
#define LOGITD_CORE_VOCABULARY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace logitd {

struct Vocabulary {
  std::string bytes;
  // [vocab_size + 1]: token i has bytes [offsets[i], offsets[i + 1]).
  std::vector<int64_t> offsets;
  // Bytes of the longest token.
  int64_t longest_token_bytes = 0;

  std::string_view TokenBytes(TokenId id) const {
    if (id < 0 || static_cast<size_t>(id) + 1 >= offsets.size()) return {};
    return std::string_view(bytes).substr(offsets[id], offsets[id + 1] - offsets[id]);
  }
};

}  // namespace logitd

#endif  // LOGITD_CORE_VOCABULARY_H_
