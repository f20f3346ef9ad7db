#include "core/token_list.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

class TokenListTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(TokenListTest);

std::vector<float> BlockMaxOf(LogitsView row, const TokenMask& mask) {
  std::vector<float> block_max(kernels::BlockCount(row.size()));
  kernels::ActiveKernels().scan_row(row.data(), row.size(), mask.bits(), block_max.data());
  return block_max;
}

void ExpectTokens(const TokenList& list, LogitsView row, const std::vector<TokenId>& expected) {
  ASSERT_EQ(std::vector<TokenId>(list.ids().begin(), list.ids().end()), expected);
  ASSERT_EQ(list.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(list.logits()[i], row[expected[i]]);
}

TEST_P(TokenListTest, CollectsWhatIsBetweenTheBoundsInTheMask) {
  TokenList list;
  for (int32_t n : {1, 63, 256, 257, 1500, 5000}) {
    for (uint64_t word : {~uint64_t{0}, uint64_t{0x5555555555555555}, uint64_t{1} << 63, uint64_t{0}}) {
      std::vector<float> row = testing::MakeRow(n, 2, static_cast<uint64_t>(n));
      for (int32_t i = 1; i < n; i += 7) row[i] = -kInf;
      const TokenMask mask(std::vector<uint64_t>((static_cast<size_t>(n) + 63) / 64, word));
      const std::vector<float> block_max = BlockMaxOf(row, mask);
      for (const auto& [low, high] : {std::pair{-kLargest, kLargest}, {-1.0f, 1.0f}, {2.5f, kLargest}, {1.0f, 1.0f}}) {
        SCOPED_TRACE(std::to_string(n) + " tokens, mask " + std::to_string(word) + ", from " + std::to_string(low));
        std::vector<TokenId> expected;
        for (TokenId t = 0; t < n; ++t) {
          if (((word >> (t % 64)) & 1) && low <= row[t] && row[t] <= high) expected.push_back(t);
        }
        list.Clear();
        list.Collect(row, mask, block_max, low, high);
        ASSERT_NO_FATAL_FAILURE(ExpectTokens(list, row, expected));
      }
    }
  }
}

TEST_P(TokenListTest, CollectsARangeOfBlocksBehindWhatIsThere) {
  const std::vector<float> row = testing::MakeRow(3000, 1, 8);
  const std::vector<float> block_max = BlockMaxOf(row, {});
  TokenList list;
  list.Collect(row, {}, block_max, 0.5f, kLargest, 0, 700);
  list.Collect(row, {}, block_max, 1.5f, kLargest, 1024);
  std::vector<TokenId> expected;
  for (TokenId t = 0; t < 3000; ++t) {
    if ((t < 700 && row[t] >= 0.5f) || (t >= 1024 && row[t] >= 1.5f)) expected.push_back(t);
  }
  ExpectTokens(list, row, expected);
}

TEST_P(TokenListTest, ASecondListGivesWhatIsBetweenTheBoundsWithItsWeights) {
  const std::vector<float> row = testing::MakeRow(900, 1, 9);
  TokenList list, part;
  list.Collect(row, {}, BlockMaxOf(row, {}), -kLargest, kLargest);
  list.Weigh(4, kernels::ExpConstants(1.7));
  part.Collect(list, -0.25f, 0.75f);
  std::vector<TokenId> expected;
  for (TokenId t = 0; t < 900; ++t) {
    if (-0.25f <= row[t] && row[t] <= 0.75f) expected.push_back(t);
  }
  ExpectTokens(part, row, expected);
  for (size_t i = 0; i < part.size(); ++i) EXPECT_EQ(part.weights()[i], list.weights()[expected[i]]);
}

TEST_P(TokenListTest, WeighsEveryTokenAndReturnsTheSum) {
  const std::vector<float> row = testing::MakeRow(777, 3, 10);
  const float max = *std::max_element(row.begin(), row.end());
  for (double temperature : {0.3, 1.7}) {
    const kernels::ExpConstants constants(temperature);
    TokenList list;
    list.Collect(row, {}, BlockMaxOf(row, {}), -1, kLargest);
    const uint64_t total = list.Weigh(max, constants);
    uint64_t expected = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      ASSERT_EQ(list.weights()[i], kernels::Weight(list.logits()[i], max, constants)) << i;
      expected += list.weights()[i];
    }
    EXPECT_EQ(total, expected);
    EXPECT_EQ(list.TotalWeight(), expected);
  }
}

TEST_P(TokenListTest, FilterKeepsIdsLogitsAndWeightsTogether) {
  const std::vector<float> row = testing::MakeRow(500, 1, 11);
  const kernels::ExpConstants constants(0.6);
  TokenList list;
  list.Collect(row, {}, BlockMaxOf(row, {}), -kLargest, kLargest);
  list.Weigh(4, constants);
  list.Filter([](float logit, TokenId token_id) { return logit > 0 && token_id % 3 == 0; });
  std::vector<TokenId> expected;
  for (TokenId t = 0; t < 500; t += 3) {
    if (row[t] > 0) expected.push_back(t);
  }
  ExpectTokens(list, row, expected);
  for (size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(list.weights()[i], kernels::Weight(list.logits()[i], 4, constants));
  }
}

TEST_P(TokenListTest, FindsItsTokensAndNoOthers) {
  std::vector<float> row(300, 0.0f);
  for (TokenId t : {0, 7, 299}) row[t] = 1;
  TokenList list;
  EXPECT_EQ(list.Find(0), -1);
  list.Collect(row, {}, BlockMaxOf(row, {}), 1, 1);
  EXPECT_THAT(list.ids(), ElementsAre(0, 7, 299));
  EXPECT_EQ(list.Find(0), 0);
  EXPECT_EQ(list.Find(7), 1);
  EXPECT_EQ(list.Find(299), 2);
  for (TokenId t : {1, 6, 8, 298}) EXPECT_EQ(list.Find(t), -1) << t;
  list.Clear();
  EXPECT_THAT(list.ids(), IsEmpty());
  // Nothing of what was there before.
  EXPECT_EQ(list.Find(7), -1);
}

}  // namespace
}  // namespace logitd
