#include "core/dry.h"

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

void Find(DryMatcher& matcher, const std::vector<TokenId>& tokens, const DryPenalty& dry) {
  DryBreakers breakers;
  breakers.Assign(dry.breakers);
  matcher.Find(TokenHistory(tokens, {}), dry, breakers, 100);
}

// The longest match of each token that has one.
std::map<TokenId, int32_t> LongestOf(const std::vector<TokenId>& tokens, const DryPenalty& dry) {
  DryMatcher matcher;
  Find(matcher, tokens, dry);
  std::map<TokenId, int32_t> longest;
  for (const DryMatch& match : matcher.matches()) {
    longest[match.token_id] = std::max(longest[match.token_id], match.length);
  }
  return longest;
}

TEST(DryMatcherTest, ATokenIsMatchedByTheLongestRepetitionItWouldGoOnWith) {
  // After a b c came c, after c came b, after b c came y.
  const std::vector<TokenId> tokens = {1, 2, 3, 3, 2, 3, 9, 1, 2, 3};
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1}), ElementsAre(Pair(2, 1), Pair(3, 3), Pair(9, 2)));
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 2}), ElementsAre(Pair(3, 3), Pair(9, 2)));
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 3}), ElementsAre(Pair(3, 3)));
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 4}), IsEmpty());
}

TEST(DryMatcherTest, RepetitionsMayOverlap) {
  EXPECT_THAT(LongestOf({5, 5, 5, 5}, {.allowed_length = 1}), ElementsAre(Pair(5, 3)));
  EXPECT_THAT(LongestOf({1, 2, 1, 2, 1}, {.allowed_length = 1}), ElementsAre(Pair(2, 3)));
}

TEST(DryMatcherTest, LooksAtTheWindowAlone) {
  const std::vector<TokenId> tokens = {1, 2, 3, 3, 2, 3, 9, 1, 2, 3};
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1, .window = 9}), ElementsAre(Pair(2, 1), Pair(3, 2), Pair(9, 2)));
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1, .window = 5}), ElementsAre(Pair(9, 1)));
  // Not more tokens than the allowed length: nothing is looked at.
  EXPECT_THAT(LongestOf({5, 5, 5}, {.allowed_length = 2, .window = 2}), IsEmpty());
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1, .window = 0}), IsEmpty());
  EXPECT_THAT(LongestOf({}, {.allowed_length = 1}), IsEmpty());
}

TEST(DryMatcherTest, ABreakerEndsAMatch) {
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 1, 2, 3};
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1}), ElementsAre(Pair(4, 3)));
  struct Case {
    const char* name;
    std::vector<std::vector<TokenId>> breakers;
    int32_t length;
  };
  const Case cases[] = {
      {"none of them there", {{8}, {3, 8}, {7, 2}}, 3},
      {"first of the match", {{1}}, 2},
      {"in the middle", {{2}}, 1},
      {"the last one nearest the end", {{1}, {2}}, 1},
      {"the last token", {{3}}, 0},
      {"two tokens", {{1, 2}}, 1},
      {"two tokens at the end", {{2, 3}}, 0},
      {"not all of it is there", {{3, 4, 1, 2, 3, 5}}, 3},
      {"of those that begin alike the longest", {{1}, {1, 2}, {1, 9}}, 1},
      {"the same, whatever the order", {{1, 2, 9}, {1, 2}, {1}}, 1},
      {"that begins before the match", {{4, 1}}, 2},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::map<TokenId, int32_t> longest = LongestOf(tokens, {.allowed_length = 1, .breakers = c.breakers});
    if (c.length == 0) {
      EXPECT_THAT(longest, IsEmpty());
    } else {
      EXPECT_THAT(longest, ElementsAre(Pair(4, c.length)));
    }
  }
}

TEST(DryMatcherTest, ATokenThatIsABreakerIsNeverMatched) {
  const std::vector<TokenId> tokens = {1, 2, 4, 1, 2};
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1}), ElementsAre(Pair(4, 2)));
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1, .breakers = {{4}}}), IsEmpty());
  // As the first token of a longer breaker it is.
  EXPECT_THAT(LongestOf(tokens, {.allowed_length = 1, .breakers = {{4, 7}}}), ElementsAre(Pair(4, 2)));
}

TEST(DryMatcherTest, BreakersOfOneCallDoNotReachTheNext) {
  DryMatcher matcher;
  const std::vector<TokenId> tokens = {1, 2, 4, 1, 2};
  Find(matcher, tokens, {.allowed_length = 1, .breakers = {{4}, {1, 2}}});
  EXPECT_THAT(matcher.matches(), IsEmpty());
  Find(matcher, tokens, {.allowed_length = 1});
  ASSERT_EQ(matcher.matches().size(), 1);
  EXPECT_EQ(matcher.matches()[0].token_id, 4);
}

TEST(DryMatcherTest, TheExponentIsCappedWhereTheFloatWouldOverflow) {
  EXPECT_EQ(DryMatcher::MaxExponent(1.75), 158);
  EXPECT_EQ(DryMatcher::MaxExponent(2.5), 96);
  EXPECT_EQ(DryMatcher::MaxExponent(8), 42);
  EXPECT_EQ(DryMatcher::MaxExponent(1), std::numeric_limits<int32_t>::max());
  EXPECT_EQ(DryMatcher::MaxExponent(1.000001), std::numeric_limits<int32_t>::max());
  EXPECT_LT(DryMatcher::MaxExponent(1.000002), 50'000'000);
}

}  // namespace
}  // namespace logitd
