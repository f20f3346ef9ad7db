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

int32_t DryMatcher::LongestBreakerAt(const TokenHistory& history, const DryPenalty& dry, size_t from_end) const {
  // long_breakers_[begin, end) agree with the tokens from there on in the first `depth` tokens.
  auto begin = long_breakers_.begin();
  auto end = long_breakers_.end();
  int32_t longest = 0;
  for (size_t depth = 0; depth <= from_end; ++depth) {
    const TokenId token_id = history.Back(from_end - depth);
    // Shorter ones come first in the range; none of them goes on.
    const auto token_at = [&](int32_t breaker) {
      const std::vector<TokenId>& tokens = dry.breakers[breaker];
      return depth < tokens.size() ? tokens[depth] : -1;
    };
    begin = std::partition_point(begin, end, [&](int32_t breaker) { return token_at(breaker) < token_id; });
    end = std::partition_point(begin, end, [&](int32_t breaker) { return token_at(breaker) == token_id; });
    if (begin == end) break;
    // The shortest of the range is its first.
    if (dry.breakers[*begin].size() == depth + 1) longest = static_cast<int32_t>(depth + 1);
  }
  return longest;
}

int32_t DryMatcher::TokensAfterBreaker(const TokenHistory& history, const DryPenalty& dry) {
  long_breakers_.clear();
  for (size_t i = 0; i < dry.breakers.size(); ++i) {
    if (dry.breakers[i].size() > 1) long_breakers_.push_back(static_cast<int32_t>(i));
  }
  std::sort(long_breakers_.begin(), long_breakers_.end(),
            [&](int32_t a, int32_t b) { return dry.breakers[a] < dry.breakers[b]; });
  for (size_t i = 0; i < history.size(); ++i) {
    const uint8_t role = roles_[history.Back(i)];
    if (role == 0) continue;
    int32_t length = role & kSingle ? 1 : 0;
    if (role & kHead) length = std::max(length, LongestBreakerAt(history, dry, i));
    // Where several begin at one token the longest counts.
    if (length > 0) return static_cast<int32_t>(i) + 1 - length;
  }
  return static_cast<int32_t>(history.size());
}

void DryMatcher::Find(const TokenHistory& history, const DryPenalty& dry, int32_t vocab_size) {
  matches_.clear();
  const TokenHistory window = dry.window.has_value() ? history.Last(static_cast<size_t>(*dry.window)) : history;
  const int32_t allowed_length = dry.allowed_length;
  if (window.size() <= static_cast<size_t>(allowed_length)) return;
  if (roles_.size() < static_cast<size_t>(vocab_size)) roles_.resize(vocab_size);
  for (const std::vector<TokenId>& breaker : dry.breakers) roles_[breaker[0]] |= breaker.size() == 1 ? kSingle : kHead;
  const int32_t longest = TokensAfterBreaker(window, dry);
  if (longest >= allowed_length) {
    FindSuffixMatches(window, lengths_);
    for (size_t k = 1; k < window.size(); ++k) {
      const int32_t length = std::min(lengths_[k], longest);
      const TokenId next = window.Back(k - 1);
      if (length >= allowed_length && !(roles_[next] & kSingle)) matches_.push_back({next, length});
    }
  }
  // The next step may have other breakers, and another vocabulary.
  for (const std::vector<TokenId>& breaker : dry.breakers) roles_[breaker[0]] = 0;
}

}  // namespace logitd
