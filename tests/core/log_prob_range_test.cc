#include "core/log_prob_range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/decoder.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kMost = std::numeric_limits<float>::max();
constexpr int32_t kVocab = 40;

// A row of the kind `kind`: ordinary, flat, peaked, the largest floats, the smallest, one token alone, or a mixture.
std::vector<float> RowOf(int kind, int seed) {
  std::vector<float> row = MakeRow(kVocab, 3, seed);
  switch (kind) {
    case 1:
      row.assign(kVocab, 0.25f);
      break;
    case 2:
      row[static_cast<size_t>(seed % kVocab)] = 1e4f;
      break;
    case 3:
      for (size_t i = 0; i < row.size(); ++i) row[i] = i % 3 == 0 ? -kMost : i % 3 == 1 ? kMost : row[i] * 1e37f;
      break;
    case 4:
      for (float& logit : row) logit *= std::numeric_limits<float>::denorm_min() * 8;
      break;
    case 5:
      row.assign(kVocab, -kInf);
      row[static_cast<size_t>(seed % kVocab)] = -kMost;
      break;
    case 6:
      return RowOf(seed % 6, seed * 31 + 7);
    default:
      break;
  }
  return row;
}

TEST(LogProbRangeTest, EverySumOfADecoderCanBeResumed) {
  Distribution distribution;
  double least_model = 0, least_sampling = 0;
  for (const double temperature : {0.0, 1e-4, 0.3, 1.0, 2.5, 1e6}) {
    for (int kind = 0; kind <= 6; ++kind) {
      for (const bool forced : {false, true}) {
        SCOPED_TRACE("kind " + std::to_string(kind) + " at " + std::to_string(temperature));
        DecoderConfig config;
        config.sampling.temperature = temperature;
        config.seed = static_cast<uint64_t>(kind) + 1;
        // A token far from the largest: bans and biases give tokens a log-prob that no draw would.
        if (forced && kind != 5) {
          ASSERT_OK_AND_ASSIGN(const VocabSubset few, VocabSubset::Of(kVocab, std::vector<TokenId>{0, 3}));
          config.sampling.subset = std::make_shared<const VocabSubset>(few);
        }
        Decoder decoder(config);
        for (int32_t position = 0; position < 300; ++position) {
          ASSERT_OK_AND_ASSIGN(const Step step, decoder.Advance(position, RowOf(kind, 500 + position), distribution));
          if (!step.token) break;
          ASSERT_THAT(CheckSum(*step.sums.model, step.token_count, kLeastModelLogProb, "model"), IsOk());
          ASSERT_THAT(CheckSum(*step.sums.sampling, step.token_count, kLeastSamplingLogProb, "sampling"), IsOk());
          least_model = std::min(least_model, *step.token->model_log_prob);
          least_sampling = std::min(least_sampling, *step.token->sampling_log_prob);
        }
      }
    }
  }
  // The extremes were there.
  EXPECT_LT(least_model, -6.8e38);
  EXPECT_LT(least_sampling, -3);
}

TEST(LogProbRangeTest, ACompensationIsWithinItsBoundWhateverTheTerms) {
  // Magnitudes from subnormal to the largest, in orders that leave much to the compensation; 2^17 terms.
  for (const int pattern : {0, 1, 2, 3, 4}) {
    SCOPED_TRACE(pattern);
    CompensatedSum sum;
    uint64_t random = 99;
    double widest = 0;
    for (int64_t count = 1; count <= kMaxTokens; ++count) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const double fraction = 1 + static_cast<double>(random >> 12) * 0x1p-52;
      const int exponents[] = {0, static_cast<int>(random % 160) - 30, count % 2 == 0 ? 120 : -60, count == 1 ? 52 : -2,
                               static_cast<int>(count / 900) - 20};
      sum.Add(std::max(-std::ldexp(fraction, exponents[pattern]), kLeastModelLogProb));
      ASSERT_THAT(CheckSum(sum, count, kLeastModelLogProb, "model"), IsOk());
      widest = std::max(widest, std::abs(sum.compensation / sum.sum) / (static_cast<double>(count) * 0x1p-52));
    }
    EXPECT_GT(widest, 0) << "nothing was compensated";
  }
}

TEST(LogProbRangeTest, WhatIsOutsideIsNamedWithItsBound) {
  EXPECT_THAT(CheckSum({}, 0, kLeastModelLogProb, "model"), IsOk());
  EXPECT_THAT(CheckSum({kLeastModelLogProb * 5, 0}, 5, kLeastModelLogProb, "model"), IsOk());
  const absl::Status status = CheckSum({1.5, 0}, 5, -2, "model");
  EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_EQ(DetailOf(status).message, "model_sum must be in [-10, 0], got 1.5");
  EXPECT_EQ(DetailOf(CheckSum({-3, 1}, 4, -2, "sampling")).field, "sampling_compensation");
  EXPECT_FALSE(CheckSum({std::nan(""), 0}, 4, -2, "model").ok());
  EXPECT_FALSE(CheckSum({-1, std::nan("")}, 4, -2, "model").ok());
  EXPECT_FALSE(CheckSum({-1, 0}, 0, -2, "model").ok());
}

}  // namespace
}  // namespace logitd
