// The tokens of a sequence so far, the prompt and then the output, read from the end.
//
//   const TokenHistory history(context.prompt, context.output);
//   history.Back(0);     // the last token
//   history.Last(64);    // the last 64 of them
//
// A view: it owns nothing, and the tokens must outlive it. The two parts are not copied together, because a step looks
// at a few tokens and a prompt has many. Thread-compatible value.
#ifndef LOGITD_CORE_TOKEN_HISTORY_H_
#define LOGITD_CORE_TOKEN_HISTORY_H_

#include <cstddef>
#include <span>

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

  // The last `count` tokens; all if there are not so many.
  TokenHistory Last(size_t count) const {
    if (count >= size()) return *this;
    if (count <= output_.size()) return TokenHistory({}, output_.last(count));
    return TokenHistory(prompt_.last(count - output_.size()), output_);
  }

  // Whether the last tokens are these, in this order. Nothing is a suffix of everything.
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

}  // namespace logitd

#endif  // LOGITD_CORE_TOKEN_HISTORY_H_
