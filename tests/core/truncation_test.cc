#include "core/truncation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/distribution.h"
#include "core/exact_math.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;
using ::logitd::testing::SortedTokens;
using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<TokenId> Kept(Distribution& distribution) {
  std::vector<TokenId> kept;
  for (TokenId t = 0; t < distribution.row().vocab_size(); ++t) {
    if (distribution.Keeps(t)) kept.push_back(t);
  }
  EXPECT_EQ(static_cast<int32_t>(kept.size()), distribution.CountKept());
  return kept;
}

std::vector<TokenId> KeptBy(LogitsView row, const SamplingParams& params) {
  Distribution distribution;
  EXPECT_THAT(distribution.Assign(row, params, {}), IsOk());
  return Kept(distribution);
}

TEST(TopKTest, KeepsExactlyKAndTiesToTheLowestId) {
  const std::vector<float> row = {1, 3, 2, 2, 2, -kInf};
  EXPECT_THAT(KeptBy(row, {.temperature = 0.7, .top_k = 1}), ElementsAre(1));
  EXPECT_THAT(KeptBy(row, {.temperature = 0.7, .top_k = 2}), ElementsAre(1, 2));
  EXPECT_THAT(KeptBy(row, {.temperature = 0.7, .top_k = 3}), ElementsAre(1, 2, 3));
  EXPECT_THAT(KeptBy(row, {.temperature = 0.7, .top_k = 5}), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(KeptBy(row, {.temperature = 0.7, .top_k = 6}), ElementsAre(0, 1, 2, 3, 4));
}

TEST(TopKTest, ZerosOfBothSignsTie) {
  const std::vector<float> row = {-1, -0.0f, 0.0f, -0.0f, 0.0f};
  EXPECT_THAT(KeptBy(row, {.temperature = 0.7, .top_k = 1}), ElementsAre(1));
  EXPECT_THAT(KeptBy(row, {.temperature = 0.7, .top_k = 3}), ElementsAre(1, 2, 3));
}

TEST(TopPTest, BoundaryIsInclusive) {
  EXPECT_EQ(KeptBy(std::vector<float>(10, 1.5f), {.temperature = 0.7, .top_p = 0.9}).size(), 9);
  EXPECT_EQ(KeptBy(std::vector<float>(5, 1.5f), {.temperature = 2.5, .top_p = 0.8}).size(), 4);
  EXPECT_EQ(KeptBy(std::vector<float>(4, 1.5f), {.top_p = 0.5}).size(), 2);
  EXPECT_EQ(KeptBy(std::vector<float>(4, 1.5f), {.top_p = 0.5001}).size(), 3);
  EXPECT_THAT(KeptBy(std::vector<float>{1, 2}, {.top_p = 0}), ElementsAre(1));
  EXPECT_THAT(KeptBy(std::vector<float>{2, 2}, {.top_p = 5e-324}), ElementsAre(0));
}

// Weights 2^42, 5 and 4: the target is 4 below their sum, which is what the first two weigh, exactly.
TEST(TruncationTest, AMassThatIsTheTargetIsEnough) {
  constexpr double kAlmostAll = 0x1.fffffffffffffp-1;
  for (double temperature : {0.5, 2.0}) {
    std::vector<float> row = {0};
    for (int weight : {5, 4}) row.push_back(static_cast<float>(temperature * std::log(std::ldexp(weight, -42))));
    Distribution whole;
    ASSERT_THAT(whole.Assign(row, {.temperature = temperature}, {}), IsOk());
    ASSERT_EQ(whole.Weight(1), 5);
    ASSERT_EQ(whole.Weight(2), 4);
    ASSERT_EQ(TopPMass(whole.TotalWeight(), kAlmostAll, TopPBoundary::kReached), whole.TotalWeight() - 4);
    EXPECT_THAT(KeptBy(row, {.temperature = temperature, .top_p = kAlmostAll}), ElementsAre(0, 1));
    EXPECT_THAT(KeptBy(row, {.temperature = temperature, .typical_p = kAlmostAll}), ElementsAre(0, 1));
  }
}

TEST(TopPTest, BoundariesOfEqualTokens) {
  struct Case {
    TopPBoundary boundary;
    size_t kept;
  };
  const std::vector<float> row(4, 1.5f);
  for (const Case& c : {Case{TopPBoundary::kReached, 2}, Case{TopPBoundary::kExceeded, 3},
                        Case{TopPBoundary::kAscending, 2}, Case{TopPBoundary::kMassAbove, 4}}) {
    for (double temperature : {0.7, 2.5}) {
      EXPECT_EQ(KeptBy(row, {.temperature = temperature, .top_p = 0.5, .order = {.top_p_boundary = c.boundary}}).size(),
                c.kept);
    }
  }
}

// The factor is 1 - p in f64, as transformers has it: 1 - 0.1 is a little more than 0.9 of S there, so that 9 of 10 go.
// numpy: cumsum(sort(full(10, 0.1))) <= 1 - 0.1 is true 9 times of S = 1 in exact arithmetic.
TEST(TopPTest, AscendingTakesOneMinusPInF64) {
  for (double temperature : {0.7, 1.0, 2.5}) {
    EXPECT_EQ(KeptBy(std::vector<float>(10, 1.5f),
                     {.temperature = temperature, .top_p = 0.1, .order = {.top_p_boundary = TopPBoundary::kAscending}})
                  .size(),
              1);
  }
}

TEST(TopPTest, WorkedExample) {
  const std::vector<float> row = {6, 3, .5, .5};
  EXPECT_THAT(KeptBy(row, {.top_p = 0.9}), ElementsAre(0));
  EXPECT_THAT(KeptBy(row, {.top_p = 0.95}), ElementsAre(0, 1));
  EXPECT_THAT(KeptBy(row, {.top_p = 0.995}), ElementsAre(0, 1, 2));
  EXPECT_THAT(KeptBy(row, {.temperature = 2, .top_p = 0.9}), ElementsAre(0, 1));
  EXPECT_THAT(KeptBy(row, {.temperature = 0.5, .top_p = 0.995}), ElementsAre(0));
}

TEST(TopPTest, MassIsTheExactCeiling) {
  EXPECT_EQ(TopPMass(1000, 0, TopPBoundary::kReached), 0);
  EXPECT_EQ(TopPMass(uint64_t{1} << 62, 5e-324, TopPBoundary::kReached), 1);
  // 1/2 (1 - 2^-40) of 2^62 = 2^61 - 2^21.
  EXPECT_EQ(TopPMass(uint64_t{1} << 62, 0.5, TopPBoundary::kReached), (uint64_t{1} << 61) - (uint64_t{1} << 21));
  EXPECT_EQ(TopPMass((uint64_t{1} << 62) + 1, 0.5, TopPBoundary::kReached),
            (uint64_t{1} << 61) - (uint64_t{1} << 21) + 1);
  // Nine of ten equal weights, for 0.9 as a double lies above 9/10.
  const uint64_t one = uint64_t{1} << 42;
  EXPECT_LE(TopPMass(10 * one, 0.9, TopPBoundary::kReached), 9 * one);
  EXPECT_GT(TopPMass(10 * one, 0.9, TopPBoundary::kReached), 8 * one);
  EXPECT_EQ(TopPMass(7, 0x1.fffffffffffffp-1, TopPBoundary::kReached), 7);
}

TEST(MinPTest, KeepsWhatIsAtLeastMinPOfTheBest) {
  const std::vector<float> row = {6, 3, .5, .5};
  EXPECT_THAT(KeptBy(row, {.min_p = 0.05}), ElementsAre(0));  // e^-3 = 0.0498
  EXPECT_THAT(KeptBy(row, {.min_p = 0.049}), ElementsAre(0, 1));
  EXPECT_THAT(KeptBy(row, {.temperature = 2, .min_p = 0.05}), ElementsAre(0, 1, 2, 3));  // e^-2.75 = 0.064
  EXPECT_THAT(KeptBy(row, {.temperature = 0.5, .min_p = 0.0025}), ElementsAre(0));       // e^-6 = 0.00248
  EXPECT_THAT(KeptBy(std::vector<float>{2, 2, 1}, {.temperature = 0.7, .min_p = 1}), ElementsAre(0, 1));
  EXPECT_EQ(KeptBy(row, {.temperature = 0.7, .min_p = 5e-324}).size(), 4);
}

TEST(MinPTest, BoundaryIsInclusive) {
  const double min_p = Exp(-1);
  ASSERT_EQ(Log(min_p), -1);
  EXPECT_THAT(KeptBy(std::vector<float>{0, -1, -1.0000001f}, {.min_p = min_p}), ElementsAre(0, 1));
  EXPECT_THAT(KeptBy(std::vector<float>{7, 4.5, 4.4999995f}, {.temperature = 2.5, .min_p = min_p}), ElementsAre(0, 1));
}

TEST(MinPTest, CutsAtTheLastLogitThatPasses) {
  // Logits one float apart on both sides of T ln(min_p).
  for (double temperature : {0.3, 1.0, 2.5}) {
    const double min_p = 0.2;
    const float middle = static_cast<float>(temperature * std::log(min_p));
    std::vector<float> row = {0};
    float x = middle;
    for (int i = 0; i < 3; ++i) x = std::nextafter(x, 0.0f);
    for (int i = 0; i < 7; ++i, x = std::nextafter(x, -1.0f * 100)) row.push_back(x);
    const std::vector<TokenId> kept = KeptBy(row, {.temperature = temperature, .min_p = min_p});
    for (TokenId t = 0; t < static_cast<TokenId>(row.size()); ++t) {
      const bool passes = double{row[t]} >= temperature * std::log(min_p);
      EXPECT_EQ(std::ranges::count(kept, t), passes) << temperature << " " << t;
    }
  }
}

TEST(TruncationTest, AKeptTokenMayHaveNoWeight) {
  const std::vector<float> row = {0, -50, -1};
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7, .top_k = 3}, {}), IsOk());
  EXPECT_EQ(distribution.CountKept(), 3);
  EXPECT_EQ(distribution.Weight(1), 0);
  EXPECT_NEAR(distribution.LogProb(1), -50 / 0.7 - std::log(1 + std::exp(-1 / 0.7)), 1e-6);
}

TEST(TruncationTest, StagesWorkOnWhatTheOneBeforeLeft) {
  // p = .4 .3 .2 .1; top-k 2 leaves 4/7, 3/7: top-p 0.5 then keeps one, where alone it keeps two.
  std::vector<float> row;
  for (double p : {0.4, 0.3, 0.2, 0.1}) row.push_back(static_cast<float>(std::log(p)));
  EXPECT_THAT(KeptBy(row, {.top_p = 0.5}), ElementsAre(0, 1));
  EXPECT_THAT(KeptBy(row, {.top_k = 2, .top_p = 0.5}), ElementsAre(0));
  EXPECT_THAT(KeptBy(row, {.top_k = 3, .min_p = 0.6}), ElementsAre(0, 1));
}

TEST(TruncationTest, OffMeansOff) {
  const std::vector<float> row = MakeRow(1000, 3, 1);
  Distribution plain, off;
  ASSERT_THAT(plain.Assign(row, {.temperature = 0.7}, {}), IsOk());
  ASSERT_THAT(off.Assign(row, {.temperature = 0.7, .top_k = 1000, .top_p = 1, .min_p = 0}, {}), IsOk());
  EXPECT_EQ(plain.TotalWeight(), off.TotalWeight());
  EXPECT_EQ(off.CountKept(), 1000);
  EXPECT_EQ(plain.LogProb(3), off.LogProb(3));
}

TEST(TruncationTest, AlwaysLeavesTheFirstToken) {
  const std::vector<float> row = {1, 3, 3, 2};
  for (double temperature : {0.3, 2.5}) {
    EXPECT_THAT(KeptBy(row, {.temperature = temperature, .top_p = 0}), ElementsAre(1));
    EXPECT_THAT(KeptBy(row, {.temperature = temperature, .min_p = 1}), ElementsAre(1, 2));
    EXPECT_THAT(KeptBy(row, {.temperature = temperature, .epsilon_cutoff = 0.999}), ElementsAre(1));
    EXPECT_THAT(KeptBy(row, {.temperature = temperature, .top_n_sigma = 0}), ElementsAre(1, 2));
  }
}

TEST(TruncationTest, AgreesWithASort) {
  for (int32_t n : {1, 7, 8, 9, 100, 3000, 50257}) {
    for (double scale : {0.001, 1.0, 6.0}) {
      std::vector<float> row = MakeRow(n, scale, n);
      if (n > 9) row[n / 2] = -kInf;
      for (double temperature : {0.3, 1.0, 2.5}) {
        SCOPED_TRACE(std::to_string(n) + " scale " + std::to_string(scale) + " at " + std::to_string(temperature));
        std::vector<TokenId> sorted = SortedTokens(row);
        std::erase_if(sorted, [&](TokenId t) { return row[t] == -kInf; });
        Distribution whole;
        ASSERT_THAT(whole.Assign(row, {.temperature = temperature}, {}), IsOk());
        for (double p : {1e-9, 0.1, 0.5, 0.95, 0.999, 0.9999999}) {
          const uint64_t target = TopPMass(whole.TotalWeight(), p, TopPBoundary::kReached);
          uint64_t mass = 0;
          size_t count = 0;
          while (count == 0 || mass < target) mass += whole.Weight(sorted[count++]);
          std::vector<TokenId> expected(sorted.begin(), sorted.begin() + count);
          std::sort(expected.begin(), expected.end());
          Distribution cut;
          ASSERT_THAT(cut.Assign(row, {.temperature = temperature, .top_p = p}, {}), IsOk());
          ASSERT_EQ(Kept(cut), expected) << p;
          ASSERT_EQ(cut.TotalWeight(), mass);
        }
        for (int32_t k : {1, 2, 5, 64, n - 1, n}) {
          if (k < 1) continue;
          const size_t count = std::min<size_t>(k, sorted.size());
          std::vector<TokenId> expected(sorted.begin(), sorted.begin() + count);
          std::sort(expected.begin(), expected.end());
          ASSERT_EQ(KeptBy(row, {.temperature = temperature, .top_k = k}), expected) << k;
        }
      }
    }
  }
}

TEST(TruncationTest, AllStagesTogetherAgreeWithTheReference) {
  for (int32_t n : {9, 1000, 50257}) {
    const std::vector<float> row = MakeRow(n, 3, n + 5);
    for (double temperature : {0.3, 0.7, 2.5}) {
      const SamplingParams params{.temperature = temperature, .top_k = 40, .top_p = 0.93, .min_p = 0.02};
      Distribution distribution;
      ASSERT_THAT(distribution.Assign(row, params, {}), IsOk());
      const auto reference = testing::ReferenceOf(row, params);
      std::vector<TokenId> expected = reference.kept;
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(Kept(distribution), expected);
      for (TokenId t : expected) EXPECT_NEAR(distribution.LogProb(t), reference.log_probs[t], 1e-6);
      EXPECT_NEAR(distribution.Entropy(), reference.entropy, 1e-6);
    }
  }
}

}  // namespace
}  // namespace logitd
