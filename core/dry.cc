#include "core/dry.h"

#include <algorithm>
#include <limits>
#include <ranges>

#include "core/exact_math.h"

namespace logitd {
namespace {

// A breaker by itself; the first token of a longer one.
constexpr uint8_t kSingle = 1;
constexpr uint8_t kHead = 2;

}  // namespace

void DryBreakers::Assign(std::span<const std::vector<TokenId>> breakers) {
  singles_.clear();
  heads_.clear();
  tokens_.clear();
  ends_.assign(1, 0);
  order_.clear();
  for (size_t i = 0; i < breakers.size(); ++i) {
    if (breakers[i].size() == 1) {
      singles_.push_back(breakers[i][0]);
    } else {
      order_.push_back(static_cast<int32_t>(i));
    }
  }
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return breakers[a] < breakers[b]; });
  for (int32_t i : order_) {
    const std::vector<TokenId>& breaker = breakers[i];
    if (heads_.empty() || heads_.back() != breaker[0]) heads_.push_back(breaker[0]);
    tokens_.insert(tokens_.end(), breaker.begin(), breaker.end());
    ends_.push_back(tokens_.size());
  }
}

int32_t DryBreakers::LongestAt(const TokenHistory& history, size_t from_end) const {
  // Those in [begin, end) agree with the tokens from there on in the first `depth` tokens.
  size_t begin = 0;
  size_t end = ends_.size() - 1;
  int32_t longest = 0;
  for (size_t depth = 0; depth <= from_end; ++depth) {
    const TokenId token_id = history.Back(from_end - depth);
    // Shorter ones come first in the range; none of them goes on.
    const auto token_at = [&](size_t breaker) {
      const std::span<const TokenId> tokens = Long(breaker);
      return depth < tokens.size() ? tokens[depth] : -1;
    };
    const auto places = std::views::iota(begin, end);
    begin = *std::ranges::partition_point(places, [&](size_t breaker) { return token_at(breaker) < token_id; });
    const auto rest = std::views::iota(begin, end);
    end = *std::ranges::partition_point(rest, [&](size_t breaker) { return token_at(breaker) == token_id; });
    if (begin == end) break;
    // The shortest of the range is its first.
    if (Long(begin).size() == depth + 1) longest = static_cast<int32_t>(depth + 1);
  }
  return longest;
}

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
