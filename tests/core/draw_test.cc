#include "core/distribution.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/exact_math.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"
#include "tests/testing/weights.h"

namespace logitd {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;

constexpr float kInf = std::numeric_limits<float>::infinity();

// ceil(prefix 2^64 / total): the smallest u of the interval that begins at `prefix`. REQUIRES: prefix < total.
uint64_t FirstUniform(uint64_t prefix, uint64_t total) {
  const unsigned __int128 scaled = static_cast<unsigned __int128>(prefix) << 64;
  return static_cast<uint64_t>((scaled + total - 1) / total);
}

// Checks both ends of the interval of every token that has one: together they are the sampler's whole distribution.
void ExpectEveryBoundary(Distribution& distribution) {
  const auto weights = testing::WeightsOf(distribution);
  uint64_t prefix = 0;
  TokenId previous = -1;
  for (TokenId t = 0; t < static_cast<TokenId>(weights.size()); ++t) {
    if (weights[t] == 0) continue;
    const uint64_t first = FirstUniform(prefix, distribution.TotalWeight());
    ASSERT_EQ(distribution.DrawToken(first).token_id, t);
    if (previous >= 0) {
      ASSERT_EQ(distribution.DrawToken(first - 1).token_id, previous);
    }
    prefix += weights[t];
    previous = t;
  }
  ASSERT_EQ(prefix, distribution.TotalWeight());
  ASSERT_EQ(distribution.DrawToken(~uint64_t{0}).token_id, previous);
}

TEST(SamplerTest, EveryIntervalBeginsAndEndsWhereItShould) {
  for (int32_t n : {1, 2, 7, 8, 9, 1023, 1024, 1025, 3000}) {
    const std::vector<float> row = MakeRow(n, 3, n);
    for (double temperature : {0.3, 1.0, 2.5, 1e6}) {
      SCOPED_TRACE(std::to_string(n) + " at " + std::to_string(temperature));
      Distribution distribution;
      ASSERT_THAT(distribution.Assign(row, {.temperature = temperature}, {}), IsOk());
      ExpectEveryBoundary(distribution);
      ASSERT_THAT(distribution.Assign(row, {.temperature = temperature, .top_k = 20, .top_p = 0.9}, {}), IsOk());
      ExpectEveryBoundary(distribution);
    }
  }
}

TEST(SamplerTest, ExcludedTokensHaveNoInterval) {
  const std::vector<float> row = {-kInf, 1, -kInf, 1, -100, -kInf};
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7}, {}), IsOk());
  EXPECT_EQ(distribution.DrawToken(0).token_id, 1);
  EXPECT_EQ(distribution.DrawToken((uint64_t{1} << 63) - 1).token_id, 1);
  EXPECT_EQ(distribution.DrawToken(uint64_t{1} << 63).token_id, 3);
  EXPECT_EQ(distribution.DrawToken(~uint64_t{0}).token_id, 3);
}

// Evenly spread u: every count is within one of its expectation, so a bias of 2e-5 fails, and nothing is left to
// chance.
TEST(SamplerTest, StratifiedDrawsHitEveryTokenAsOftenAsItsProbability) {
  constexpr int kDraws = 100000;
  for (double temperature : {0.5, 1.0, 2.5}) {
    const std::vector<float> row = MakeRow(60, 2, 77);
    Distribution distribution;
    ASSERT_THAT(distribution.Assign(row, {.temperature = temperature, .top_p = 0.98}, {}), IsOk());
    std::vector<int> counts(row.size(), 0);
    for (int k = 0; k < kDraws; ++k) {
      const unsigned __int128 numerator = (static_cast<unsigned __int128>(2 * k + 1) << 64) / (2 * kDraws);
      ++counts[distribution.DrawToken(static_cast<uint64_t>(numerator)).token_id];
    }
    for (size_t t = 0; t < row.size(); ++t) {
      const double expected = kDraws * static_cast<double>(distribution.Weight(t)) / distribution.TotalWeight();
      EXPECT_LT(std::abs(counts[t] - expected), 1.001) << t;
      EXPECT_NEAR(expected, kDraws * Exp(distribution.LogProb(t)), 0.05) << t;
    }
  }
}

// Tokens of the generator's own Philox and inverse CDF, in Python integers.
TEST(SamplerTest, DrawsTheGoldenTokens) {
  const auto golden = testing::ReadGolden("weights.json");
  const uint64_t seed = golden["seed"];
  const uint64_t sequence_key = golden["sequence_key"];
  Distribution distribution;
  for (const auto& c : golden["cases"]) {
    const double temperature = testing::Number(c["temperature"]);
    SCOPED_TRACE(c["name"].get<std::string>() + " at " + std::to_string(temperature));
    const std::vector<float> row = testing::GoldenRow(c);
    ASSERT_THAT(distribution.Assign(row, {.temperature = temperature}, {}), IsOk());
    EXPECT_EQ(distribution.TotalWeight(), c["total_weight"].get<uint64_t>());
    std::vector<TokenId> tokens;
    for (int32_t position = 0; position < static_cast<int32_t>(c["tokens"].size()); ++position) {
      const RandomStream random(seed, sequence_key, position, RandomPurpose::kTokenDraw);
      tokens.push_back(distribution.DrawToken(random.Uniform64(0)).token_id);
    }
    EXPECT_EQ(tokens, c["tokens"].get<std::vector<TokenId>>());
  }
}

// The random stream itself: a G-test over 2^17 draws. Seed and thus the outcome are fixed; the bounds are those of a
// false-alarm rate of 1e-9 with 19 degrees of freedom, on both sides.
TEST(SamplerTest, PhiloxDrawsFollowTheDistribution) {
  constexpr int kDraws = 1 << 17;
  const std::vector<float> row = MakeRow(20, 0.7, 5);
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 0.7}, {}), IsOk());
  std::vector<int> counts(row.size(), 0);
  for (int i = 0; i < kDraws; ++i) {
    const RandomStream random(42, i % 7, i, RandomPurpose::kTokenDraw);
    ++counts[distribution.DrawToken(random.Uniform64(0)).token_id];
  }
  double g = 0;
  for (size_t t = 0; t < row.size(); ++t) {
    const double expected = kDraws * Exp(distribution.LogProb(t));
    ASSERT_GT(expected, 5);
    g += 2 * counts[t] * std::log(counts[t] / expected);
  }
  EXPECT_LT(g, 83.3);
  EXPECT_GT(g, 0.95);
}

TEST(SamplerTest, TopKOfOneIsGreedy) {
  for (int32_t n : {9, 50257}) {
    const std::vector<float> row = MakeRow(n, 0.01, n);
    Distribution one, greedy;
    ASSERT_THAT(one.Assign(row, {.temperature = 0.7, .top_k = 1}, {}), IsOk());
    ASSERT_THAT(greedy.Assign(row, {.temperature = 0}, {}), IsOk());
    for (uint64_t u : {uint64_t{0}, uint64_t{1} << 63, ~uint64_t{0}}) {
      EXPECT_EQ(one.DrawToken(u).token_id, greedy.DrawToken(u).token_id);
      EXPECT_EQ(greedy.DrawToken(u).token_id, greedy.argmax());
    }
  }
}

}  // namespace
}  // namespace logitd
