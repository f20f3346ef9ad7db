#include "core/token_history.h"

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<int32_t> MatchesOf(const std::vector<TokenId>& prompt, const std::vector<TokenId>& output) {
  std::vector<int32_t> lengths = {7, 7};  // whatever was there before
  FindSuffixMatches(TokenHistory(prompt, output), lengths);
  return lengths;
}

TEST(SuffixMatchesTest, FindsWhereTheEndOccurredBefore) {
  // a b c c b c y a b c: "a b c" ends 7 before the end, "c" 6, "b c" 4.
  EXPECT_THAT(MatchesOf({1, 2, 3, 3, 2, 3, 9, 1, 2, 3}, {}), ElementsAre(0, 0, 0, 0, 2, 0, 1, 3, 0, 0));
  EXPECT_THAT(MatchesOf({5, 5, 5}, {5}), ElementsAre(0, 3, 2, 1));
  EXPECT_THAT(MatchesOf({}, {}), IsEmpty());
  EXPECT_THAT(MatchesOf({}, {4}), ElementsAre(0));
}

TEST(SuffixMatchesTest, AgreesWithComparingAtEachPlace) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 2000; ++round) {
    const size_t size = random() % 40;
    const TokenId kinds = 1 + static_cast<TokenId>(random() % 3);
    std::vector<TokenId> tokens(size);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random() % kinds);
    std::vector<int32_t> expected(size, 0);
    for (size_t k = 1; k < size; ++k) {
      while (k + expected[k] < size && tokens[size - 1 - expected[k]] == tokens[size - 1 - k - expected[k]]) {
        ++expected[k];
      }
    }
    const size_t prompt_size = size == 0 ? 0 : random() % (size + 1);
    const std::vector<TokenId> prompt(tokens.begin(), tokens.begin() + prompt_size);
    const std::vector<TokenId> output(tokens.begin() + prompt_size, tokens.end());
    ASSERT_EQ(MatchesOf(prompt, output), expected) << round;
  }
}

TEST(TokenHistoryTest, GoesOnFromTheOutputIntoThePrompt) {
  const std::vector<TokenId> prompt = {1, 2, 3}, output = {4, 5};
  const TokenHistory history(prompt, output);
  EXPECT_EQ(history.size(), 5);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(history.Back(i), static_cast<TokenId>(5 - i));
  EXPECT_TRUE(history.EndsWith(std::vector<TokenId>{3, 4, 5}));
  EXPECT_TRUE(history.EndsWith({}));
  EXPECT_FALSE(history.EndsWith(std::vector<TokenId>{2, 4, 5}));
  EXPECT_FALSE(history.EndsWith(std::vector<TokenId>{0, 1, 2, 3, 4, 5}));
}

TEST(TokenHistoryTest, LastTakesTheEnd) {
  const std::vector<TokenId> prompt = {1, 2, 3}, output = {4, 5};
  const TokenHistory history(prompt, output);
  for (size_t count : {0, 1, 2, 3, 4, 5, 9}) {
    const TokenHistory last = history.Last(count);
    ASSERT_EQ(last.size(), std::min<size_t>(count, 5)) << count;
    for (size_t i = 0; i < last.size(); ++i) EXPECT_EQ(last.Back(i), history.Back(i)) << count;
  }
}

}  // namespace
}  // namespace logitd
