// The whole distribution of the draw, after every sampler, without statistics: the first u of each token's interval
// gives that token and the u before it the token before, so every interval is where the weights say; and between them
// lies nothing else, because the draw is monotone in u (r = floor(u Z / 2^64), and a token's interval is one range of
// r). So no u gives an excluded token, and a token of probability 1e-9 has its 1e-9 of all u.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/distribution.h"
#include "core/exact_math.h"
#include "gtest/gtest.h"
#include "tests/proofs/length.h"
#include "tests/proofs/rows.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"
#include "tests/testing/samplers.h"

namespace logitd::proofs {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;
using ::logitd::testing::Sampler;
using ::logitd::testing::Samplers;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One token that can be drawn, with its interval of r, [begin, begin + weight).
struct Interval {
  TokenId token_id;
  uint64_t begin;
  uint64_t weight;
};

// From what the distribution says of each token; checks that it agrees with itself.
void IntervalsOf(Distribution& distribution, std::vector<Interval>& intervals) {
  intervals.clear();
  uint64_t total = 0;
  int32_t kept = 0;
  for (TokenId t = 0; t < distribution.row().vocab_size(); ++t) {
    const uint64_t weight = distribution.Weight(t);
    if (distribution.Keeps(t)) {
      ++kept;
    } else {
      ASSERT_EQ(weight, 0u) << t;
      ASSERT_EQ(distribution.LogProb(t), -kInfinity) << t;
    }
    if (weight > 0) intervals.push_back({t, total, weight});
    total += weight;
  }
  ASSERT_EQ(total, distribution.TotalWeight());
  ASSERT_EQ(kept, distribution.CountKept());
  ASSERT_FALSE(intervals.empty());
}

// ceil(r 2^64 / Z): the smallest u with floor(u Z / 2^64) >= r. REQUIRES: r < total.
uint64_t FirstUniform(uint64_t r, uint64_t total) {
  const unsigned __int128 scaled = static_cast<unsigned __int128>(r) << 64;
  return static_cast<uint64_t>((scaled + total - 1) / total);
}

// Both ends of the interval of `intervals[i]`.
void ExpectInterval(Distribution& distribution, const std::vector<Interval>& intervals, size_t i) {
  const uint64_t total = distribution.TotalWeight();
  const uint64_t first = FirstUniform(intervals[i].begin, total);
  ASSERT_EQ(distribution.DrawToken(first).token_id, intervals[i].token_id);
  if (i > 0) {
    ASSERT_EQ(distribution.DrawToken(first - 1).token_id, intervals[i - 1].token_id);
  }
  const bool is_last = i + 1 == intervals.size();
  const uint64_t last = (is_last ? 0 : FirstUniform(intervals[i + 1].begin, total)) - 1;
  ASSERT_EQ(distribution.DrawToken(last).token_id, intervals[i].token_id);
}

// Every interval, or `at_most` of them evenly spread with the first and the last.
void ExpectIntervals(Distribution& distribution, size_t at_most) {
  std::vector<Interval> intervals;
  ASSERT_NO_FATAL_FAILURE(IntervalsOf(distribution, intervals));
  ASSERT_EQ(distribution.DrawToken(0).token_id, intervals.front().token_id);
  ASSERT_EQ(distribution.DrawToken(~uint64_t{0}).token_id, intervals.back().token_id);
  const size_t count = std::min(at_most, intervals.size());
  for (size_t k = 0; k < count; ++k) {
    const size_t i = count == 1 ? 0 : k * (intervals.size() - 1) / (count - 1);
    ASSERT_NO_FATAL_FAILURE(ExpectInterval(distribution, intervals, i)) << "token " << intervals[i].token_id;
  }
}

TEST(SamplerBoundaryProof, EveryIntervalOfSmallRowsAfterEverySampler) {
  Distribution distribution;
  for (int32_t n : {4, 63, 64, 65, 255, 257, 1023, 1025, 2049}) {
    for (double scale : {0.0, 0.7, 3.0}) {
      // With ties, and a third of -inf at scale 3.
      std::vector<float> row = MakeRow(n, scale, static_cast<uint64_t>(n));
      for (size_t i = 2; scale == 3 && i < row.size(); i += 3) row[i] = -kInfinity;
      for (const Sampler& sampler : Samplers(n)) {
        SCOPED_TRACE(sampler.name + ", " + std::to_string(n) + " tokens, scale " + std::to_string(scale));
        ASSERT_THAT(distribution.Assign(row, sampler.params, {}), IsOk());
        // The sampler is at work: where it keeps everything, this would prove the draw alone.
        if (sampler.truncates && n > 1000 && scale == 3) {
          ASSERT_LT(distribution.CountKept(), std::ranges::count_if(row, [](float x) { return x > -kInfinity; }));
        }
        ASSERT_NO_FATAL_FAILURE(ExpectIntervals(distribution, row.size()));
      }
    }
  }
}

TEST(SamplerBoundaryProof, IntervalsOfLargeRowsAfterEverySampler) {
  const auto draws = static_cast<size_t>(Count(100, 10000));
  Distribution distribution;
  for (int32_t n : {50257, 131101, 262144}) {
    for (double scale : {1.0, 3.0}) {
      const std::vector<float> row = MakeRow(n, scale, static_cast<uint64_t>(n) + 1);
      for (const Sampler& sampler : Samplers(n)) {
        SCOPED_TRACE(sampler.name + ", " + std::to_string(n) + " tokens, scale " + std::to_string(scale));
        ASSERT_THAT(distribution.Assign(row, sampler.params, {}), IsOk());
        if (sampler.truncates) {
          ASSERT_LT(distribution.CountKept(), n);
        }
        ASSERT_NO_FATAL_FAILURE(ExpectIntervals(distribution, draws));
      }
    }
  }
}

TEST(SamplerBoundaryProof, RareTokensAreReachedAsOftenAsTheyShould) {
  for (double temperature : {0.5, 1.0, 2.5}) {
    for (TokenId rare : {0, 300, 511}) {
      std::vector<float> row(512, -kInfinity);
      row[100] = 0;
      row[101] = -1;
      row[rare] = static_cast<float>(temperature * std::log(1e-9 * (1 + std::exp(-1 / temperature))));
      Distribution distribution;
      ASSERT_THAT(distribution.Assign(row, {.temperature = temperature}, {}), IsOk());
      std::vector<Interval> intervals;
      ASSERT_NO_FATAL_FAILURE(IntervalsOf(distribution, intervals));
      ASSERT_EQ(intervals.size(), 3u);
      for (size_t i = 0; i < intervals.size(); ++i) {
        ASSERT_NO_FATAL_FAILURE(ExpectInterval(distribution, intervals, i));
        const double probability = static_cast<double>(intervals[i].weight) / distribution.TotalWeight();
        // 2^-43 of the first token's weight is the rounding of a weight.
        EXPECT_NEAR(probability, Exp(distribution.LogProb(intervals[i].token_id)), 2e-7 * probability + 0x1p-43);
        if (intervals[i].token_id == rare) {
          EXPECT_NEAR(probability, 1e-9, 1e-12);
        }
      }
    }
  }
}

// Evenly spread u: every count is within one of its expectation, so that a bias of 1e-5 fails without any statistics.
TEST(SamplerBoundaryProof, StratifiedDrawsHitEveryTokenAsOftenAsItsWeight) {
  const int64_t draws = Count(20000, 1000000);
  Distribution distribution;
  for (double scale : {0.5, 2.0}) {
    const std::vector<float> row = MakeRow(1500, scale, 78);
    for (const Sampler& sampler : Samplers(static_cast<int32_t>(row.size()))) {
      SCOPED_TRACE(sampler.name + ", scale " + std::to_string(scale));
      ASSERT_THAT(distribution.Assign(row, sampler.params, {}), IsOk());
      std::vector<int64_t> counts(row.size(), 0);
      for (int64_t k = 0; k < draws; ++k) {
        // floor((k + 1/2) 2^64 / draws)
        const unsigned __int128 u = (static_cast<unsigned __int128>(2 * k + 1) << 63) / static_cast<uint64_t>(draws);
        ++counts[distribution.DrawToken(static_cast<uint64_t>(u)).token_id];
      }
      for (TokenId t = 0; t < static_cast<TokenId>(row.size()); ++t) {
        if (!distribution.Keeps(t)) {
          ASSERT_EQ(counts[t], 0) << t;
          continue;
        }
        const double expected =
            static_cast<double>(draws) * static_cast<double>(distribution.Weight(t)) / distribution.TotalWeight();
        ASSERT_LT(std::abs(static_cast<double>(counts[t]) - expected), 1.001) << t;
      }
    }
  }
}

}  // namespace
}  // namespace logitd::proofs
