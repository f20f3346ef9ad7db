#include "core/stage_report.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

class StageReporterTest : public testing::EveryTarget {};
LOGITD_ON_EVERY_TARGET(StageReporterTest);

TEST_P(StageReporterTest, CountsAndWeighsWhatEachStageTookOut) {
  // At T = 2: p = 0.740200, 0.165161, 0.047319, 0.047319.
  const std::vector<float> row = {6, 3, 0.5, 0.5};
  KeptTokens kept;
  kept.Reset(row, {}, {});
  kept.SetTemperature(2);
  StageReporter reporter;
  reporter.Begin(kept);
  kept.KeepFirst(3);
  reporter.After(Stage::kTopK, kept);
  reporter.After(Stage::kMinP, kept);
  const std::vector<TokenId> first = {0};
  kept.Remove(first);
  reporter.After(Stage::kXtc, kept);
  reporter.AfterAll(Stage::kTokenSets);
  struct Case {
    Stage stage;
    int32_t before, after;
    double removed;
  };
  const Case cases[] = {{Stage::kTopK, 4, 3, 0.047319415},
                        {Stage::kMinP, 3, 3, 0},
                        {Stage::kXtc, 3, 2, 0.740200185 / (1 - 0.047319415)},
                        {Stage::kTokenSets, 2, 0, 1}};
  ASSERT_EQ(reporter.reports().size(), 4);
  for (size_t i = 0; i < 4; ++i) {
    SCOPED_TRACE(StageName(cases[i].stage));
    EXPECT_EQ(reporter.reports()[i].stage, cases[i].stage);
    EXPECT_EQ(reporter.reports()[i].kept_before, cases[i].before);
    EXPECT_EQ(reporter.reports()[i].kept_after, cases[i].after);
    EXPECT_NEAR(reporter.reports()[i].removed_mass, cases[i].removed, 1e-6);
  }
}

// The mass that is removed is that of the weights before the stage, exactly, however many tokens there are.
TEST_P(StageReporterTest, TheRemovedMassOfALargeRowIsTheDifferenceOfItsSums) {
  const std::vector<float> row = testing::MakeRow(20000, 0.7, 4);
  for (double temperature : {0.6, 2.5}) {
    KeptTokens kept;
    kept.Reset(row, {}, {});
    kept.SetTemperature(temperature);
    StageReporter reporter;
    reporter.Begin(kept);
    // The maximum stays: the weights are relative to it throughout.
    const uint64_t whole = kept.total_weight();
    kept.KeepFirst(12000);
    reporter.After(Stage::kTopK, kept);
    const uint64_t first = kept.total_weight();
    kept.KeepMass(first / 3);
    reporter.After(Stage::kTopP, kept);
    const uint64_t second = kept.total_weight();
    ASSERT_EQ(reporter.reports().size(), 2);
    EXPECT_EQ(reporter.reports()[0].kept_before, 20000);
    EXPECT_EQ(reporter.reports()[0].kept_after, 12000);
    EXPECT_EQ(reporter.reports()[0].removed_mass, static_cast<double>(whole - first) / static_cast<double>(whole));
    EXPECT_EQ(reporter.reports()[1].kept_before, 12000);
    EXPECT_EQ(reporter.reports()[1].kept_after, kept.count());
    EXPECT_EQ(reporter.reports()[1].removed_mass, static_cast<double>(first - second) / static_cast<double>(first));
  }
}

// Tokens that are gone, also larger ones than those that are left, have no weight in what comes later.
TEST_P(StageReporterTest, WhatIsGoneIsNotRemovedAgain) {
  const std::vector<float> row = testing::MakeRow(20000, 0.7, 4);
  const std::vector<TokenId> sorted = testing::SortedTokens(row);
  std::vector<TokenId> first(sorted.begin(), sorted.begin() + 50);
  std::sort(first.begin(), first.end());
  for (int32_t left : {18000, 300}) {
    KeptTokens kept;
    kept.Reset(row, {}, {});
    kept.SetTemperature(0.6);
    kept.KeepFirst(left);
    StageReporter reporter;
    reporter.Begin(kept);
    kept.Remove(first);
    reporter.After(Stage::kXtc, kept);
    const uint64_t before = kept.total_weight();
    kept.KeepFirst(left / 2);
    reporter.After(Stage::kTopK, kept);
    EXPECT_EQ(reporter.reports()[1].removed_mass,
              static_cast<double>(before - kept.total_weight()) / static_cast<double>(before));
  }
}

TEST_P(StageReporterTest, LeavesTheTokensAsTheyWere) {
  const std::vector<float> row = testing::MakeRow(9000, 0.7, 5);
  KeptTokens plain, reported;
  StageReporter reporter;
  for (KeptTokens* kept : {&plain, &reported}) {
    kept->Reset(row, {}, {});
    kept->SetTemperature(1.4);
    if (kept == &reported) reporter.Begin(*kept);
    kept->KeepFirst(6000);
    if (kept == &reported) reporter.After(Stage::kTopK, *kept);
    kept->KeepAtLeast(-0.25f);
    if (kept == &reported) reporter.After(Stage::kMinP, *kept);
  }
  EXPECT_EQ(reported.count(), plain.count());
  EXPECT_EQ(reported.total_weight(), plain.total_weight());
  EXPECT_EQ(reported.DrawToken(~uint64_t{0}).token_id, plain.DrawToken(~uint64_t{0}).token_id);
  EXPECT_TRUE(std::ranges::equal(reported.Between(0.5f, kLargest).ids(), plain.Between(0.5f, kLargest).ids()));
}

}  // namespace
}  // namespace logitd
