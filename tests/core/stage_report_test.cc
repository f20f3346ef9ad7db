#include "core/stage_report.h"

#include <vector>

#include "core/truncation.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;

class StageReportTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(StageReportTest);

TEST_P(StageReportTest, CountsAndWeighsWhatEachStageTookOut) {
  // At T = 2: p = 0.740200, 0.165161, 0.047319, 0.047319.
  const std::vector<float> row = {6, 3, 0.5, 0.5};
  const SamplingParams params{.temperature = 2, .top_k = 3, .min_p = 1e-6, .xtc = {.probability = 1, .threshold = 0.1}};
  Distribution distribution;
  ASSERT_OK_AND_ASSIGN(const std::vector<StageReport> reports, ReportStages(row, params, {}, distribution));
  struct Case {
    Stage stage;
    int32_t before, after;
    double removed;
  };
  const Case cases[] = {{Stage::kMinTokens, 4, 4, 0},
                        {Stage::kTemperature, 4, 4, 0},
                        {Stage::kTopK, 4, 3, 0.047319415},
                        {Stage::kMinP, 3, 3, 0},
                        {Stage::kXtc, 3, 2, 0.740200185 / (1 - 0.047319415)}};
  ASSERT_EQ(reports.size(), 5);
  for (size_t i = 0; i < 5; ++i) {
    SCOPED_TRACE(StageName(cases[i].stage));
    EXPECT_EQ(reports[i].stage, cases[i].stage);
    EXPECT_EQ(reports[i].kept_before, cases[i].before);
    EXPECT_EQ(reports[i].kept_after, cases[i].after);
    EXPECT_NEAR(reports[i].removed_mass, cases[i].removed, 1e-6);
  }
}

TEST_P(StageReportTest, WithoutATokenThereIsNoReport) {
  const std::vector<float> row = {6, 3};
  const std::vector<TokenId> excluded = {0, 1};
  Distribution distribution;
  EXPECT_THAT(ReportStages(row, {}, {.excluded = excluded}, distribution).status(),
              HasReason(ErrorReason::kAllTokensExcluded));
}

// The mass that is removed is that of the weights before the stage, exactly, however many tokens there are; tokens that
// are gone, also larger ones than those that are left, have no weight in what comes later.
TEST_P(StageReportTest, TheRemovedMassOfALargeRowIsTheDifferenceOfItsSums) {
  const std::vector<float> row = testing::MakeRow(20000, 0.7, 4);
  Distribution distribution;
  for (double temperature : {0.6, 2.5}) {
    for (int32_t top_k : {18000, 12000, 300}) {
      SamplingParams params{.temperature = temperature,
                            .top_k = top_k,
                            .top_p = 0.4,
                            .xtc = {.probability = 1, .threshold = 1e-4},
                            .order = {.stages = {Stage::kTemperature, Stage::kTopK, Stage::kXtc, Stage::kTopP}}};
      KeptTokens kept;
      TruncationSpace space;
      kept.Reset(row, {}, {}, temperature);
      const uint64_t whole = kept.TotalWeight();
      KeepTopK(top_k, TieRule::kLowestId, kept);
      const uint64_t first = kept.TotalWeight();
      ExcludeTopChoices(1e-4, space, kept);
      const int32_t left = kept.Count();
      const uint64_t second = kept.TotalWeight();
      KeepTopP(0.4, TopPBoundary::kReached, kept);
      // The maximum stays: the weights are relative to it.
      const uint64_t third = kept.TotalWeight();
      ASSERT_OK_AND_ASSIGN(const std::vector<StageReport> reports, ReportStages(row, params, {}, distribution));
      ASSERT_EQ(reports.size(), 5);
      EXPECT_EQ(reports[2].kept_before, 20000);
      EXPECT_EQ(reports[2].kept_after, top_k);
      EXPECT_EQ(reports[2].removed_mass, static_cast<double>(whole - first) / static_cast<double>(whole));
      EXPECT_LT(left, top_k);
      EXPECT_EQ(reports[3].kept_after, left);
      EXPECT_EQ(reports[4].kept_before, left);
      EXPECT_EQ(reports[4].kept_after, kept.Count());
      EXPECT_EQ(reports[4].removed_mass, static_cast<double>(second - third) / static_cast<double>(second));
    }
  }
}

}  // namespace
}  // namespace logitd
