#include "core/token_record.h"

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "core/kernels/row_kernels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::IsOk;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Optional;

constexpr float kInf = std::numeric_limits<float>::infinity();

// Passes over a row that count what is larger.
int counting_passes = 0;
const kernels::RowKernels* counted_kernels = nullptr;
int32_t CountGreaterCounted(const float* logits, size_t n, const uint64_t* mask, float value) {
  ++counting_passes;
  return counted_kernels->count_greater(logits, n, mask, value);
}

// A message of a megabyte may name a million tokens of one row.
TEST(TokenRecordTest, RanksOfManyNamedTokensTakeFewPasses) {
  const std::vector<float> row = testing::MakeRow(50257, 3, 1);
  ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row));
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7}, {}), IsOk());
  RecordOptions options{.rank = true};
  for (TokenId id = 0; id < 1024; ++id) options.named_token_ids.push_back(id * 49);
  const kernels::RowKernels& before = kernels::ActiveKernels();
  kernels::RowKernels counting = before;
  counted_kernels = &before;
  counting.count_greater = CountGreaterCounted;
  counting_passes = 0;
  kernels::UseKernels(counting);
  const TokenRecord record = MakeRecord(row, statistics, &distribution, 5, options);
  kernels::UseKernels(before);
  // The chosen token's own is one more.
  EXPECT_LE(counting_passes, static_cast<int>(kMaxRankPasses) + 1);
  ASSERT_EQ(record.named.size(), 1024u);
  for (const TokenAlternative& named : record.named) EXPECT_EQ(named.rank, RankOf(row, named.token_id));
}

TEST(TokenRecordTest, HoldsWhatIsAskedForAndNothingElse) {
  const std::vector<float> row = {6, 3, .5, .5};
  ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row, /*with_entropy=*/true));
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 2}, {}), IsOk());

  const TokenRecord plain = MakeRecord(row, statistics, &distribution, 2, {});
  EXPECT_EQ(plain.token_id, 2);
  EXPECT_EQ(plain.state, LogProbState::kPresent);
  EXPECT_THAT(plain.model_log_prob, Optional(DoubleNear(-5.556343103, 1e-7)));
  EXPECT_THAT(plain.sampling_log_prob, Optional(DoubleNear(std::log(.047319415), 1e-6)));
  EXPECT_EQ(plain.rank, std::nullopt);
  EXPECT_EQ(plain.model_entropy, std::nullopt);
  EXPECT_EQ(plain.model_log_sum_exp, std::nullopt);
  EXPECT_TRUE(plain.top.empty());

  RecordOptions all;
  all.rank = all.entropy = true;
  all.top_n = 4;
  all.named_token_ids = {3, 0};
  const TokenRecord full = MakeRecord(row, statistics, &distribution, 3, all);
  EXPECT_EQ(full.rank, 3);
  EXPECT_THAT(full.model_entropy, Optional(DoubleNear(0.240013165, 1e-7)));
  EXPECT_THAT(full.model_log_sum_exp, Optional(DoubleNear(6.056343103, 1e-7)));
  std::vector<TokenId> ids;
  std::vector<int32_t> ranks;
  for (const TokenAlternative& alternative : full.top) {
    ids.push_back(alternative.token_id);
    ranks.push_back(*alternative.rank);
  }
  EXPECT_THAT(ids, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(ranks, ElementsAre(1, 2, 3, 3));
  ASSERT_EQ(full.named.size(), 2);
  EXPECT_EQ(full.named[0].token_id, 3);
  EXPECT_EQ(full.named[0].rank, 3);
  EXPECT_EQ(full.named[0].model_log_prob, full.model_log_prob);
  EXPECT_EQ(full.named[1].sampling_log_prob, distribution.LogProb(0));

  RecordOptions none = all;
  none.model_log_prob = none.sampling_log_prob = none.rank = false;
  const TokenRecord bare = MakeRecord(row, statistics, &distribution, 3, none);
  EXPECT_EQ(bare.model_log_prob, std::nullopt);
  EXPECT_EQ(bare.sampling_log_prob, std::nullopt);
  EXPECT_EQ(bare.top[0].model_log_prob, std::nullopt);
  EXPECT_EQ(bare.top[0].rank, std::nullopt);

  RecordOptions sums_only = all;
  sums_only.records = false;
  const TokenRecord sums = MakeRecord(row, statistics, &distribution, 3, sums_only);
  EXPECT_EQ(sums.model_log_prob, full.model_log_prob);
  EXPECT_EQ(sums.rank, std::nullopt);
  EXPECT_TRUE(sums.top.empty());
}

TEST(TokenRecordTest, ZeroProbabilityIsAStateNotANumber) {
  const std::vector<float> row = {1, -kInf, 0, -1};
  ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row, /*with_entropy=*/true));
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7, .top_k = 2}, {}), IsOk());
  const TokenRecord by_row = MakeRecord(row, statistics, &distribution, 1, {});
  EXPECT_EQ(by_row.state, LogProbState::kExcluded);
  EXPECT_EQ(by_row.model_log_prob, std::nullopt);
  EXPECT_EQ(by_row.sampling_log_prob, std::nullopt);
  const TokenRecord by_stage = MakeRecord(row, statistics, &distribution, 3, {});
  EXPECT_EQ(by_stage.state, LogProbState::kExcluded);
  EXPECT_NE(by_stage.model_log_prob, std::nullopt);
  EXPECT_EQ(by_stage.sampling_log_prob, std::nullopt);
  const TokenRecord without = MakeRecord(row, statistics, nullptr, 3, {});
  EXPECT_EQ(without.state, LogProbState::kPresent);
  // Among alternatives -inf is the number: they are listed whatever they are.
  RecordOptions named;
  named.named_token_ids = {1, 3};
  const TokenRecord record = MakeRecord(row, statistics, &distribution, 0, named);
  EXPECT_EQ(record.named[0].model_log_prob, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(record.named[1].sampling_log_prob, -std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace logitd
