// DRY ("don't repeat yourself"): finds the tokens that would continue a repetition, and the length of that repetition.
//
//   DryBreakers breakers;
//   breakers.Assign(dry.breakers);  // sorted once, searched at every step
//   DryMatcher matcher;             // reused for every step: it keeps its buffers
//   matcher.Find(history, dry, breakers, vocab_size);
//   for (const DryMatch& match : matcher.matches()) ...
//
// Thread-compatible. Source: docs/numerics.md, section 7, which follows llama.cpp's sampler of that name.
#ifndef LOGITD_CORE_DRY_H_
#define LOGITD_CORE_DRY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/sampling_params.h"
#include "core/token_history.h"
#include "core/types.h"

namespace logitd {

// The breakers of DRY, prepared. Holds a copy of the tokens.
class DryBreakers {
 public:
  // Starts over with these breakers, each of at least one token, in any order; duplicates are allowed.
  // Time: O(tokens log(breakers)). Memory: 4 bytes for each token, 8 to 12 for each breaker.
  void Assign(std::span<const std::vector<TokenId>> breakers);

  // Breakers of one token.
  std::span<const TokenId> singles() const { return singles_; }
  // First tokens of the breakers of several tokens; distinct, ascending.
  std::span<const TokenId> heads() const { return heads_; }

  // The length of the longest breaker of several tokens that starts `from_end` tokens before the last token of
  // `history` and lies wholly within it; 0 if there is none. REQUIRES: from_end < history.size().
  // Time: O(log(breakers)) for each token that matches some breaker.
  int32_t LongestAt(const TokenHistory& history, size_t from_end) const;

 private:
  std::span<const TokenId> Long(size_t i) const {
    return std::span(tokens_).subspan(ends_[i], ends_[i + 1] - ends_[i]);
  }

  std::vector<TokenId> singles_;
  std::vector<TokenId> heads_;
  // Breakers of several tokens in lexicographic order, one after the other. A binary search finds those that fit,
  // because many may begin alike. Breaker i is [ends_[i], ends_[i + 1]).
  std::vector<TokenId> tokens_;
  std::vector<size_t> ends_ = {0};
  // Indices into the argument of Assign, sorted.
  std::vector<int32_t> order_;
};

// The last `length` tokens of the history also occurred earlier, where `token_id` followed them.
struct DryMatch {
  TokenId token_id = 0;
  // >= allowed_length, without `token_id` itself.
  int32_t length = 0;
};

// Thread-compatible: working space of one thread. The result is a function of the arguments alone.
class DryMatcher {
 public:
  // Finds the earlier occurrences of the history's end within its last dry.window tokens. A match never extends back
  // across the last breaker.
  // REQUIRES: `dry` is valid (core/sampling_params.h), `breakers` are dry.breakers, all ids are in [0, vocab_size).
  // Time: O(window + breakers), plus O(kMaxDryBreakerTokens log(breakers)) for each token that could begin a breaker;
  // this search runs backwards from the end, and stops at the first complete breaker. No allocation once warm.
  void Find(const TokenHistory& history, const DryPenalty& dry, const DryBreakers& breakers, int32_t vocab_size);

  // A token may occur several times with several lengths; the longest counts. Tokens that are breakers by themselves
  // are left out.
  std::span<const DryMatch> matches() const { return matches_; }

  // The largest exponent for which the power of `base` fits f32: 88.7228391 / ln(base), rounded towards zero. For a
  // base of at most 1.000001 the largest int32_t: no match is long enough to overflow. Range: base in [1, 8].
  static int32_t MaxExponent(double base);

 private:
  // The number of tokens after the last breaker.
  int32_t TokensAfterBreaker(const TokenHistory& history, const DryBreakers& breakers) const;

  std::vector<DryMatch> matches_;
  std::vector<int32_t> lengths_;
  // The roles of each token among the breakers, kSingle | kHead. [vocab_size]
  std::vector<uint8_t> roles_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_DRY_H_
