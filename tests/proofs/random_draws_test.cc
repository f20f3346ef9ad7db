// The random stream and the sampler together, statistically: a billion draws at V = 257 (a hundred thousand in the
// short form). Seeds are fixed, and so is the outcome: nothing here can flake. What the boundary proof cannot see, a
// generator whose bits are not uniform, this does; a relative bias of 1e-3 of one token in ten moves G by 100 at 1e9
// draws.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "core/distribution.h"
#include "core/random_stream.h"
#include "gtest/gtest.h"
#include "tests/proofs/length.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd::proofs {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;

// Standard normal quantile of 1 - 1e-9: the false-alarm rate of each bound, had the seeds not been fixed.
constexpr double kQuantile = 5.9978;

// Quantile of chi-square where a standard normal has `z` (Wilson and Hilferty 1931; within 1 % here).
double ChiSquareQuantile(double degrees, double z) {
  const double variance = 2 / (9 * degrees);
  return degrees * std::pow(1 - variance + z * std::sqrt(variance), 3);
}

// Chi-square and G of counts against weights / total, on both sides: too regular is as wrong as too far. Cells that
// expect less than 5 are one.
void ExpectDrawnFrom(const std::vector<int64_t>& counts, const std::vector<uint64_t>& weights, uint64_t total,
                     int64_t draws) {
  struct Cell {
    double observed = 0;
    double expected = 0;
  };
  std::vector<Cell> cells(1);  // the first is for the rare ones
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = static_cast<double>(draws) * static_cast<double>(weights[i]) / static_cast<double>(total);
    if (weights[i] == 0) {
      ASSERT_EQ(counts[i], 0) << "token " << i << " has no weight";
    }
    Cell& cell = expected < 5 ? cells[0] : cells.emplace_back();
    cell.observed += static_cast<double>(counts[i]);
    cell.expected += expected;
  }
  if (cells[0].expected < 5) {
    cells[1].observed += cells[0].observed;
    cells[1].expected += cells[0].expected;
    cells.erase(cells.begin());
  }
  double chi_square = 0;
  double g = 0;
  for (const Cell& cell : cells) {
    chi_square += (cell.observed - cell.expected) * (cell.observed - cell.expected) / cell.expected;
    if (cell.observed > 0) g += 2 * cell.observed * std::log(cell.observed / cell.expected);
  }
  const double degrees = static_cast<double>(cells.size()) - 1;
  const double low = ChiSquareQuantile(degrees, -kQuantile);
  const double high = ChiSquareQuantile(degrees, kQuantile);
  std::printf("%lld draws, %zu cells: chi-square %.1f, G %.1f, must be in (%.1f, %.1f)\n",
              static_cast<long long>(draws), cells.size(), chi_square, g, low, high);
  EXPECT_GT(chi_square, low);
  EXPECT_LT(chi_square, high);
  EXPECT_GT(g, low);
  EXPECT_LT(g, high);
}

struct Case {
  const char* name;
  double scale;
  SamplingParams params;
};

TEST(RandomDrawsProof, FollowTheWeights) {
  // A billion in all.
  const Case cases[] = {
      {"flat", 0.5, {.temperature = 1}},
      {"peaky at 0.7", 3, {.temperature = 0.7}},
      {"top-p at 1.5", 2, {.temperature = 1.5, .top_p = 0.95}},
      {"top-k and min-p at 2.5", 2, {.temperature = 2.5, .top_k = 100, .min_p = 0.02}},
  };
  const int64_t draws = Count(100000, 250000000);
  Distribution distribution;
  for (size_t number = 0; number < std::size(cases); ++number) {
    SCOPED_TRACE(cases[number].name);
    const std::vector<float> row = MakeRow(257, cases[number].scale, 257 + number);
    ASSERT_THAT(distribution.Assign(row, cases[number].params, {}), IsOk());
    std::vector<uint64_t> weights(row.size());
    for (size_t i = 0; i < row.size(); ++i) weights[i] = distribution.Weight(static_cast<TokenId>(i));
    std::vector<int64_t> counts(row.size(), 0);
    for (int64_t i = 0; i < draws; ++i) {
      // As requests have them: few seeds, several keys, positions from 0.
      const RandomStream random(1000 + number, static_cast<uint64_t>(i >> 16), static_cast<int32_t>(i & 0xFFFF),
                                RandomPurpose::kTokenDraw);
      ++counts[distribution.DrawToken(random.Uniform64(0)).token_id];
    }
    ASSERT_NO_FATAL_FAILURE(ExpectDrawnFrom(counts, weights, distribution.TotalWeight(), draws));
  }
}

// The tail of the generator itself: tokens of probability 2^-30 are drawn, which a uniform of 24 bits never does
// evenly. At 2^k draws of u the count below 2^-b of the range is Poisson with 2^(k - b).
TEST(RandomDrawsProof, SmallUniformsAreAsRareAsTheyShould) {
  const int bits = IsLong() ? 30 : 20;
  int64_t small = 0, large = 0, low_bits = 0;
  for (int64_t i = 0; i < int64_t{1} << bits; ++i) {
    const RandomStream random(77, static_cast<uint64_t>(i >> 20), static_cast<int32_t>(i & 0xFFFFF),
                              RandomPurpose::kTokenDraw);
    const uint64_t u = random.Uniform64(0);
    small += u >> (64 - bits + 8) == 0;
    large += ~u >> (64 - bits + 8) == 0;
    low_bits += (u & ((uint64_t{1} << (bits - 8)) - 1)) == 0;
  }
  // 256 expected, standard deviation 16.
  for (int64_t count : {small, large, low_bits}) EXPECT_NEAR(static_cast<double>(count), 256, 6 * 16);
}

}  // namespace
}  // namespace logitd::proofs
