#include "core/top_tokens.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

class TopTokensTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(TopTokensTest);

// Without testing::SortedTokens where tokens of -inf are listed too.
std::vector<TokenId> Sorted(const std::vector<float>& row) {
  std::vector<TokenId> ids(row.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i);
  std::stable_sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) { return row[a] > row[b]; });
  return ids;
}

void ExpectHeads(TopTokens& top_tokens, const std::vector<float>& row) {
  const std::vector<TokenId> sorted = Sorted(row);
  const int32_t n = static_cast<int32_t>(row.size());
  for (int32_t count : {0, 1, 2, 7, 100, n / 16, n / 16 + 1, n - 1, n}) {
    if (count > n) continue;
    const std::span<const TokenId> found = top_tokens.Find(row, count);
    ASSERT_EQ(found.size(), count);
    ASSERT_TRUE(std::ranges::equal(found, std::span(sorted).first(count))) << n << " tokens, first " << count;
  }
}

TEST_P(TopTokensTest, IsTheHeadOfTheSortedOrder) {
  TopTokens top_tokens;
  // 1023 and 1024: where the way of sorting changes.
  for (int32_t n : {1, 2, 9, 1023, 1024, 1025, 50257}) {
    for (double scale : {0.002, 3.0, 1e6}) ExpectHeads(top_tokens, testing::MakeRow(n, scale, n));
  }
}

TEST_P(TopTokensTest, EqualLogitsAreInTheOrderOfTheirIds) {
  TopTokens top_tokens;
  for (int32_t n : {16, 3000, 40000}) {
    // Both zeros are equal.
    std::vector<float> row(n);
    for (int32_t i = 0; i < n; ++i) row[i] = i % 3 == 0 ? -0.0f : i % 7 == 1 ? -2.5f : 0.0f;
    ExpectHeads(top_tokens, row);
    ExpectHeads(top_tokens, std::vector<float>(n, 0.25f));
  }
}

TEST_P(TopTokensTest, TokensOfMinusInfinityComeLast) {
  TopTokens top_tokens;
  for (int32_t n : {5, 2000, 40000}) {
    std::vector<float> row = testing::MakeRow(n, 2, n);
    for (int32_t i = 0; i < n; ++i) {
      if (i % 5 != 3) row[i] = -kInf;
    }
    ExpectHeads(top_tokens, row);
    // Fewer finite ones than are asked for, even if those are few.
    std::fill(row.begin(), row.end(), -kInf);
    row[n / 2] = -std::numeric_limits<float>::max();
    ExpectHeads(top_tokens, row);
  }
}

}  // namespace
}  // namespace logitd
