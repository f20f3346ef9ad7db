#include "core/dry_breakers.h"

#include <algorithm>
#include <ranges>

namespace logitd {

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

}  // namespace logitd
