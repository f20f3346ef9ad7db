// The breakers of DRY, prepared: sorted once, searched at every step.
//
//   DryBreakers breakers;
//   breakers.Assign(dry.breakers);
//   int32_t length = breakers.LongestAt(history, from_end);
//
// Thread-compatible; holds a copy of the tokens. Source: docs/numerics.md, section 7.
#ifndef LOGITD_CORE_DRY_BREAKERS_H_
#define LOGITD_CORE_DRY_BREAKERS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/token_history.h"
#include "core/types.h"

namespace logitd {

class DryBreakers {
 public:
  // Starts over with these, each of at least one token, in any order; the same one may come twice.
  // Time: O(tokens log(breakers)). Memory: 4 bytes for each token, 8 to 12 for each breaker.
  void Assign(std::span<const std::vector<TokenId>> breakers);

  // The breakers of one token.
  std::span<const TokenId> singles() const { return singles_; }
  // The first tokens of those of several tokens; distinct, ascending.
  std::span<const TokenId> heads() const { return heads_; }

  // The length of the longest breaker of several tokens that begins `from_end` tokens before the last one of `history`
  // and is there in full; 0: there is none. REQUIRES: from_end < history.size().
  // Time: O(log(breakers)) for each token that some breaker agrees with.
  int32_t LongestAt(const TokenHistory& history, size_t from_end) const;

 private:
  std::span<const TokenId> Long(size_t i) const {
    return std::span(tokens_).subspan(ends_[i], ends_[i + 1] - ends_[i]);
  }

  std::vector<TokenId> singles_;
  std::vector<TokenId> heads_;
  // Those of several tokens in lexicographic order, one after the other: the ones that fit are found by halving,
  // because many may begin alike. Number i is [ends_[i], ends_[i + 1]).
  std::vector<TokenId> tokens_;
  std::vector<size_t> ends_ = {0};
  // Places in the argument of Assign.
  std::vector<int32_t> order_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_DRY_BREAKERS_H_
