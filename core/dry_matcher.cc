#include "core/dry_matcher.h"

#include <algorithm>
#include <limits>

#include "core/exact_math.h"
#include "core/suffix_matches.h"

namespace logitd {
namespace {

// A breaker by itself; the first token of a longer one.
constexpr uint8_t kSingle = 1;
constexpr uint8_t kHead = 2;

}  // namespace

int32_t DryMatcher::MaxExponent(double base) {
  // 88.7228391 is ln of the largest f32; both constants are llama.cpp's.
  if (!(base > 1.000001)) return std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(88.7228391 / Log(base));
}

int32_t DryMatcher::TokensAfterBreaker(const TokenHistory& history, const DryBreakers& breakers) const {
  for (size_t i = 0; i < history.size(); ++i) {
    const uint8_t role = roles_[history.Back(i)];
    if (role == 0) continue;
    int32_t length = role & kSingle ? 1 : 0;
    if (role & kHead) length = std::max(length, breakers.LongestAt(history, i));
    // Where several begin at one token the longest counts.
    if (length > 0) return static_cast<int32_t>(i) + 1 - length;
  }
  return static_cast<int32_t>(history.size());
}

void DryMatcher::Find(const TokenHistory& history, const DryPenalty& dry, const DryBreakers& breakers,
                      int32_t vocab_size) {
  matches_.clear();
  const TokenHistory window = dry.window.has_value() ? history.Last(static_cast<size_t>(*dry.window)) : history;
  const int32_t allowed_length = dry.allowed_length;
  if (window.size() <= static_cast<size_t>(allowed_length)) return;
  if (roles_.size() < static_cast<size_t>(vocab_size)) roles_.resize(vocab_size);
  for (TokenId token_id : breakers.singles()) roles_[token_id] |= kSingle;
  for (TokenId token_id : breakers.heads()) roles_[token_id] |= kHead;
  const int32_t longest = TokensAfterBreaker(window, breakers);
  if (longest >= allowed_length) {
    FindSuffixMatches(window, lengths_);
    for (size_t k = 1; k < window.size(); ++k) {
      const int32_t length = std::min(lengths_[k], longest);
      const TokenId next = window.Back(k - 1);
      if (length >= allowed_length && !(roles_[next] & kSingle)) matches_.push_back({next, length});
    }
  }
  // The next step may have other breakers, and another vocabulary.
  for (TokenId token_id : breakers.singles()) roles_[token_id] = 0;
  for (TokenId token_id : breakers.heads()) roles_[token_id] = 0;
}

}  // namespace logitd
