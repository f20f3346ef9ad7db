// The tokens of a sequence so far, the prompt and then the output, read from the end.
//
//   const TokenHistory history(context.prompt, context.output);
//   history.Back(0);     // the last token
//   history.Last(64);    // the last 64 of them
//
// A view: the tokens must outlive it. It does not copy the two parts together, because a step looks at a few tokens and
// a prompt has many. Thread-compatible value.
#ifndef LOGITD_CORE_TOKEN_HISTORY_H_
#define LOGITD_CORE_TOKEN_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/types.h"

namespace logitd {

class TokenHistory {
 public:
  TokenHistory(std::span<const TokenId> prompt, std::span<const TokenId> output) : prompt_(prompt), output_(output) {}

  size_t size() const { return prompt_.size() + output_.size(); }
  std::span<const TokenId> prompt() const { return prompt_; }
  std::span<const TokenId> output() const { return output_; }

  // The token `i` places before the last one. REQUIRES: i < size().
  TokenId Back(size_t i) const {
    return i < output_.size() ? output_[output_.size() - 1 - i] : prompt_[prompt_.size() - 1 - (i - output_.size())];
  }

  // The last `count` tokens; all of them if there are fewer.
  TokenHistory Last(size_t count) const {
    if (count >= size()) return *this;
    if (count <= output_.size()) return TokenHistory({}, output_.last(count));
    return TokenHistory(prompt_.last(count - output_.size()), output_);
  }

  // Whether the last tokens are these, in this order. The empty suffix ends every history.
  bool EndsWith(std::span<const TokenId> suffix) const {
    if (suffix.size() > size()) return false;
    for (size_t i = 0; i < suffix.size(); ++i) {
      if (Back(i) != suffix[suffix.size() - 1 - i]) return false;
    }
    return true;
  }

 private:
  std::span<const TokenId> prompt_;
  std::span<const TokenId> output_;
};

// For k in [1, history.size()): lengths[k] is the number of tokens at the history's end that also end the history
// without its last k tokens; the two may overlap. history.Back(k - 1) came after that earlier occurrence. lengths[0] is
// 0.
//
//   history a b c c b c y a b c:  lengths[7] = 3: "a b c" also ends 7 tokens before the end, and Back(6) is c.
//
// Shapes: lengths [history.size()], resized. Time: O(history.size()) for all tokens; comparing at each place would take
// its square on one repeated token. Thread-safe.
// Source: the Z-function of the reversed tokens (Gusfield, "Algorithms on Strings, Trees and Sequences", section 1.3).
void FindSuffixMatches(const TokenHistory& history, std::vector<int32_t>& lengths);

}  // namespace logitd

#endif  // LOGITD_CORE_TOKEN_HISTORY_H_
