#include "core/dry.h"

#include <algorithm>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(DryBreakersTest, KnowsWhatEachBeginsWith) {
  DryBreakers breakers;
  EXPECT_THAT(breakers.singles(), IsEmpty());
  EXPECT_THAT(breakers.heads(), IsEmpty());
  breakers.Assign(std::vector<std::vector<TokenId>>{{7, 1}, {3}, {2, 9, 9}, {7, 0, 4}, {5}});
  EXPECT_THAT(breakers.singles(), ElementsAre(3, 5));
  EXPECT_THAT(breakers.heads(), ElementsAre(2, 7));
  breakers.Assign({});
  EXPECT_THAT(breakers.singles(), IsEmpty());
  EXPECT_THAT(breakers.heads(), IsEmpty());
  const std::vector<TokenId> tokens = {7, 1};
  EXPECT_EQ(breakers.LongestAt(TokenHistory(tokens, {}), 1), 0);
}

// Against looking at each breaker, with few tokens so that many begin alike.
TEST(DryBreakersTest, FindsTheLongestThatIsThereInFull) {
  uint32_t state = 17;
  const auto below = [&state](uint32_t n) {
    state = state * 1664525 + 1013904223;
    return static_cast<TokenId>((state >> 8) % n);
  };
  DryBreakers breakers;
  int found = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<std::vector<TokenId>> list(1 + below(40));
    for (std::vector<TokenId>& breaker : list) {
      breaker.resize(1 + below(6));
      for (TokenId& token_id : breaker) token_id = below(3);
    }
    breakers.Assign(list);
    std::vector<TokenId> tokens(1 + below(20));
    for (TokenId& token_id : tokens) token_id = below(3);
    const std::span<const TokenId> all(tokens);
    const size_t prompt_size = below(tokens.size() + 1);
    const TokenHistory history(all.first(prompt_size), all.subspan(prompt_size));
    for (size_t from_end = 0; from_end < tokens.size(); ++from_end) {
      const std::span<const TokenId> rest = all.last(from_end + 1);
      size_t longest = 0;
      for (const std::vector<TokenId>& breaker : list) {
        if (breaker.size() > 1 && breaker.size() <= rest.size() &&
            std::ranges::equal(breaker, rest.first(breaker.size()))) {
          longest = std::max(longest, breaker.size());
        }
      }
      ASSERT_EQ(breakers.LongestAt(history, from_end), longest) << "round " << round << ", " << from_end;
      found += longest > 0;
    }
  }
  EXPECT_GT(found, 1000);
}

}  // namespace
}  // namespace logitd
