#include "core/row_statistics.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/distribution.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;

constexpr float kInf = std::numeric_limits<float>::infinity();

class RowStatisticsTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(RowStatisticsTest);

TEST_P(RowStatisticsTest, WorkedExample) {
  const std::vector<float> row = {6, 3, .5, .5};
  ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row));
  EXPECT_NEAR(statistics.log_sum_exp, 6.056343103295808, 1e-7);
  EXPECT_NEAR(statistics.LogProb(6), -0.056343103, 1e-7);
  EXPECT_NEAR(*StatisticsOf(row, {statistics.max, statistics.argmax}, /*with_entropy=*/true).entropy, 0.240013165,
              1e-7);
  EXPECT_EQ(statistics.LogProb(-kInf), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(RankOf(row, 0), 1);
  EXPECT_EQ(RankOf(row, 2), 3);
  EXPECT_EQ(RankOf(row, 3), 3);
}

TEST_P(RowStatisticsTest, AreThoseOfTheReferenceAtTemperatureOne) {
  for (int32_t n : {1, 2, 65, 1025, 50257}) {
    for (double scale : {0.0, 1.0, 5.0}) {
      SCOPED_TRACE(std::to_string(n) + " tokens, scale " + std::to_string(scale));
      std::vector<float> row = MakeRow(n, scale, static_cast<uint64_t>(n) + 3);
      if (n > 2) row[n / 2] = -kInf;
      const testing::ReferenceDistribution reference = testing::ReferenceOf(row, {});
      ASSERT_OK_AND_ASSIGN(const RowStatistics statistics, ReadRow(row, /*with_entropy=*/true));
      EXPECT_EQ(statistics.argmax, reference.kept[0]);
      EXPECT_EQ(statistics.max, row[reference.kept[0]]);
      for (TokenId t : {0, n / 2, n - 1}) {
        if (row[t] == -kInf) {
          EXPECT_EQ(statistics.LogProb(row[t]), -std::numeric_limits<double>::infinity());
        } else {
          EXPECT_NEAR(statistics.LogProb(row[t]), reference.log_probs[t], 1e-6);
        }
      }
      EXPECT_NEAR(statistics.log_sum_exp, row[0] - reference.log_probs[0], 1e-6);
      ASSERT_TRUE(statistics.entropy.has_value());
      EXPECT_NEAR(*statistics.entropy, reference.entropy, 1e-6);
    }
  }
}

// The ways there are differ in the passes that they make, not in a bit.
TEST_P(RowStatisticsTest, EveryWayGivesTheSameBits) {
  for (int32_t n : {1, 257, 3000}) {
    const std::vector<float> row = MakeRow(n, 3, static_cast<uint64_t>(n));
    ASSERT_OK_AND_ASSIGN(const RowStatistics with, ReadRow(row, /*with_entropy=*/true));
    ASSERT_OK_AND_ASSIGN(const RowStatistics without, ReadRow(row));
    ASSERT_OK_AND_ASSIGN(const RowMaximum maximum, FindMaximum(row));
    EXPECT_FALSE(without.entropy.has_value());
    EXPECT_EQ(*StatisticsOf(row, {without.max, without.argmax}, /*with_entropy=*/true).entropy, *with.entropy);
    for (const RowStatistics& other :
         {without, StatisticsOf(row, maximum, /*with_entropy=*/true), StatisticsOf(maximum, with.total_weight)}) {
      EXPECT_EQ(other.max, with.max);
      EXPECT_EQ(other.argmax, with.argmax);
      EXPECT_EQ(other.total_weight, with.total_weight);
      EXPECT_EQ(other.log_total, with.log_total);
      EXPECT_EQ(other.log_sum_exp, with.log_sum_exp);
    }
  }
}

// Whatever the stages did: the statistics are the model's.
TEST_P(RowStatisticsTest, ADistributionGivesTheRowsOwn) {
  const std::vector<float> row = MakeRow(6000, 2, 12);
  SamplingLists lists;
  lists.logit_biases = {{5, 40.0}};
  const auto biased = std::make_shared<const SamplingLists>(lists);
  ASSERT_OK_AND_ASSIGN(const RowStatistics expected, ReadRow(row, /*with_entropy=*/true));
  const auto subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(6000, std::vector<TokenId>{3, 4}));
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{.temperature = 0}, SamplingParams{.temperature = 0.6, .top_k = 5},
        SamplingParams{.temperature = 2.5, .subset = subset}, SamplingParams{.lists = biased}}) {
    for (bool with_entropy : {false, true}) {
      Distribution distribution;
      ASSERT_THAT(distribution.Assign(row, params, {}), IsOk());
      const RowStatistics found = distribution.ModelStatistics(with_entropy);
      EXPECT_EQ(found.max, expected.max);
      EXPECT_EQ(found.argmax, expected.argmax);
      EXPECT_EQ(found.total_weight, expected.total_weight);
      EXPECT_EQ(found.log_sum_exp, expected.log_sum_exp);
      EXPECT_EQ(found.entropy, with_entropy ? expected.entropy : std::nullopt);
    }
  }
}

TEST_P(RowStatisticsTest, RefuseWhatIsNotFinite) {
  std::vector<float> row = MakeRow(700, 1, 13);
  row[600] = std::numeric_limits<float>::quiet_NaN();
  row[300] = kInf;
  for (const absl::Status& status : {ReadRow(row).status(), FindMaximum(row).status()}) {
    EXPECT_THAT(status, HasReason(ErrorReason::kNonFiniteLogit));
    EXPECT_EQ(DetailOf(status).token_id, 300);
  }
  row.assign(700, -kInf);
  EXPECT_THAT(ReadRow(row).status(), HasReason(ErrorReason::kNoFiniteLogit));
  EXPECT_THAT(FindMaximum(row).status(), HasReason(ErrorReason::kNoFiniteLogit));
}

TEST_P(RowStatisticsTest, RankCountsWhatIsStrictlyLarger) {
  std::vector<float> row(5000, -1.0f);
  row[7] = row[4999] = 2;
  row[300] = 5;
  row[9] = -kInf;
  row[10] = 0.0f;
  row[11] = -0.0f;
  EXPECT_EQ(RankOf(row, 300), 1);
  EXPECT_EQ(RankOf(row, 7), 2);
  EXPECT_EQ(RankOf(row, 4999), 2);
  EXPECT_EQ(RankOf(row, 10), 4);
  EXPECT_EQ(RankOf(row, 11), 4);
  EXPECT_EQ(RankOf(row, 0), 6);
  EXPECT_EQ(RankOf(row, 9), 5000);
}

TEST_P(RowStatisticsTest, RanksOfSeveralAreTheRanksOfEach) {
  std::vector<float> row = MakeRow(5000, 0.8, 3);
  // Ties of every kind, and the ends of the order.
  for (TokenId id = 0; id < 5000; id += 7) row[id] = std::round(row[id]);
  row[9] = row[10] = -kInf;
  row[11] = 0.0f;
  row[12] = -0.0f;
  row[13] = std::numeric_limits<float>::max();
  row[14] = std::numeric_limits<float>::lowest();
  for (size_t count :
       {0u, 1u, 2u, 15u, 16u, 17u, 31u, 32u, 63u, 64u, 65u, 100u, 127u, 130u, 300u, 1023u, 1024u, 5000u}) {
    // The ends first; a third is named twice.
    std::vector<TokenId> token_ids;
    for (size_t i = 0; i < count; ++i) token_ids.push_back(static_cast<TokenId>((9 + (i % 3 == 2 ? i - 1 : i)) % 5000));
    const std::vector<int32_t> ranks = RanksOf(row, token_ids);
    ASSERT_EQ(ranks.size(), count);
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(ranks[i], RankOf(row, token_ids[i])) << count << ", " << token_ids[i];
  }
  EXPECT_EQ(RanksOf(std::vector<float>{2}, std::vector<TokenId>(1024, 0)), std::vector<int32_t>(1024, 1));
}

}  // namespace
}  // namespace logitd
