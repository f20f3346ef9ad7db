// Each kernel of each target against what it must give: golden bits, and definitions spelled out.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "core/kernels/row_kernels.h"
#include "core/vocab_subset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/reference.h"

namespace logitd::kernels {
namespace {

using ::logitd::testing::MakeRow;
using ::logitd::testing::Number;
using ::logitd::testing::ReadGolden;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int32_t kSizes[] = {1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 1023, 1025, 50257, 152064};
constexpr double kTemperatures[] = {1, 0.5, 2, 0.3, 0.7, 2.5, 1e-4, 1e6};

std::vector<uint64_t> EveryThird(int32_t n) {
  std::vector<uint64_t> mask((n + 63) / 64, 0);
  for (int32_t i = 0; i < n; i += 3) mask[i / 64] |= uint64_t{1} << (i % 64);
  return mask;
}

bool InMask(const std::vector<uint64_t>& mask, int32_t i) { return (mask[i / 64] >> (i % 64)) & 1; }

class RowKernelTest : public testing::EveryTarget {
 protected:
  RowScan ScanRow(const float* logits, size_t n, const uint64_t* mask) const {
    return target().scan_row(logits, n, mask, nullptr);
  }
  uint64_t SumWeights(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants,
                      uint64_t* weights) const {
    return target().sum_weights(logits, n, mask, max, constants, weights);
  }
  uint64_t SumEntropyTerms(const float* logits, size_t n, const uint64_t* mask, float max,
                           const ExpConstants& constants) const {
    return target().sum_entropy_terms(logits, n, mask, max, constants);
  }
  int32_t CountGreater(const float* logits, size_t n, float value) const {
    return target().count_greater(logits, n, value);
  }
};
LOGITD_ON_EVERY_TARGET(RowKernelTest);

// The kernel's own arithmetic repeated in exact rationals (tests/golden/generate.py): every bit must agree.
TEST_P(RowKernelTest, WeightsHaveTheNormativeBits) {
  const auto golden = ReadGolden("weights.json");
  for (const auto& c : golden["cases"]) {
    const double temperature = Number(c["temperature"]);
    SCOPED_TRACE(c["name"].get<std::string>() + " at " + std::to_string(temperature));
    const std::vector<float> row = testing::GoldenRow(c);
    const ExpConstants constants(temperature);
    const float max = ScanRow(row.data(), row.size(), nullptr).max;
    std::vector<uint64_t> weights(row.size());
    EXPECT_EQ(SumWeights(row.data(), row.size(), nullptr, max, constants, weights.data()),
              c["total_weight"].get<uint64_t>());
    EXPECT_EQ(weights, c["weights"].get<std::vector<uint64_t>>());
    EXPECT_EQ(SumEntropyTerms(row.data(), row.size(), nullptr, max, constants), c["entropy_terms"].get<uint64_t>());
  }
}

// A checksum of 2^20 weights: few of them feel the last bit of a coefficient. Values of numerics version 1.
TEST_P(RowKernelTest, BitsAreFrozen) {
  const std::vector<float> row = testing::GeneratedRow(1 << 20, 31, 16);
  std::vector<uint64_t> weights(row.size());
  const ExpConstants constants(0.7);
  const float max = ScanRow(row.data(), row.size(), nullptr).max;
  SumWeights(row.data(), row.size(), nullptr, max, constants, weights.data());
  uint64_t checksum = 0;
  for (uint64_t weight : weights) checksum = checksum * 31 + weight;
  EXPECT_EQ(checksum, 9164954854743031590u);
  EXPECT_EQ(SumEntropyTerms(row.data(), row.size(), nullptr, max, constants), 201602599645349231u);
}

TEST_P(RowKernelTest, EveryPathGivesTheBitsOfOneToken) {
  for (int32_t n : kSizes) {
    const std::vector<float> row = MakeRow(n, 6, n);
    const std::vector<uint64_t> mask = EveryThird(n);
    for (double temperature : kTemperatures) {
      SCOPED_TRACE(std::to_string(n) + " at " + std::to_string(temperature));
      const ExpConstants constants(temperature);
      const float max = *std::max_element(row.begin(), row.end());
      uint64_t total = 0;
      uint64_t masked_total = 0;
      std::vector<uint64_t> expected(n);
      for (int32_t i = 0; i < n; ++i) {
        expected[i] = Weight(row[i], max, constants);
        total += expected[i];
        if (InMask(mask, i)) masked_total += expected[i];
      }
      std::vector<uint64_t> weights(n, 99);
      EXPECT_EQ(SumWeights(row.data(), n, nullptr, max, constants, nullptr), total);
      EXPECT_EQ(SumWeights(row.data(), n, nullptr, max, constants, weights.data()), total);
      EXPECT_EQ(weights, expected);
      std::fill(weights.begin(), weights.end(), 99);
      EXPECT_EQ(SumWeights(row.data(), n, mask.data(), max, constants, nullptr), masked_total);
      EXPECT_EQ(SumWeights(row.data(), n, mask.data(), max, constants, weights.data()), masked_total);
      for (int32_t i = 0; i < n; ++i) ASSERT_EQ(weights[i], InMask(mask, i) ? expected[i] : 0) << i;
    }
  }
}

TEST_P(RowKernelTest, StartsAtAnyFloat) {
  const std::vector<float> row = MakeRow(5000, 4, 3);
  for (size_t start = 0; start < 17; ++start) {
    for (size_t n : {1, 7, 8, 9, 300, 4900}) {
      const std::vector<float> copy(row.begin() + start, row.begin() + start + n);
      const RowScan here = ScanRow(row.data() + start, n, nullptr);
      const RowScan there = ScanRow(copy.data(), n, nullptr);
      EXPECT_EQ(here.max, there.max);
      EXPECT_EQ(here.argmax, there.argmax);
      const ExpConstants constants(0.7);
      EXPECT_EQ(SumWeights(row.data() + start, n, nullptr, here.max, constants, nullptr),
                SumWeights(copy.data(), n, nullptr, here.max, constants, nullptr));
    }
  }
}

TEST_P(RowKernelTest, SumsDoNotDependOnTheOrder) {
  std::vector<float> row = MakeRow(50257, 5, 9);
  std::mt19937 random(4);
  for (double temperature : {0.3, 1.0, 2.5}) {
    const ExpConstants constants(temperature);
    const float max = *std::max_element(row.begin(), row.end());
    const uint64_t total = SumWeights(row.data(), row.size(), nullptr, max, constants, nullptr);
    const uint64_t terms = SumEntropyTerms(row.data(), row.size(), nullptr, max, constants);
    std::shuffle(row.begin(), row.end(), random);
    EXPECT_EQ(SumWeights(row.data(), row.size(), nullptr, max, constants, nullptr), total);
    EXPECT_EQ(SumEntropyTerms(row.data(), row.size(), nullptr, max, constants), terms);
  }
}

TEST(WeightTest, WeightsOfTheEnds) {
  for (double temperature : kTemperatures) {
    const ExpConstants constants(temperature);
    EXPECT_EQ(Weight(3.5f, 3.5f, constants), uint64_t{1} << 42);
    EXPECT_EQ(Weight(-kInf, 3.5f, constants), 0);
    EXPECT_EQ(Weight(-3e38f, 3e38f, constants), 0);
    // Half the unit is 2^-43 = exp(-29.8).
    EXPECT_EQ(Weight(static_cast<float>(-29.9 * temperature), 0, constants), 0);
    EXPECT_EQ(Weight(static_cast<float>(-29.7 * temperature), 0, constants), 1);
  }
}

TEST(WeightTest, NearLogitsHaveWeightsInTheirOrderUpToTwoUnitsOfF32) {
  const ExpConstants constants(0.7);
  float x = 0;
  for (int i = 0; i < 100000; ++i) {
    const float next = std::nextafter(x, -1.0f);
    EXPECT_GE(Weight(x, 0, constants) + (uint64_t{2} << 18), Weight(next, 0, constants));
    x = next * 1.00001f;
  }
}

TEST_P(RowKernelTest, ScanFindsTheLowestIdOfTheMaximum) {
  for (int32_t n : kSizes) {
    std::vector<float> row = MakeRow(n, 1, n + 100);
    for (int32_t at : {0, n / 3, n / 2, n - 1}) {
      const float before = row[at];
      row[at] = 50;
      EXPECT_EQ(ScanRow(row.data(), n, nullptr).argmax, at);
      const float last = row[n - 1];
      row[n - 1] = 50;
      const RowScan scan = ScanRow(row.data(), n, nullptr);
      EXPECT_EQ(scan.argmax, at);
      EXPECT_EQ(scan.max, 50);
      EXPECT_EQ(scan.finite_count, n);
      row[n - 1] = last;
      row[at] = before;
    }
  }
}

TEST_P(RowKernelTest, ScanTakesBothZerosAsEqual) {
  std::vector<float> row(600, -1);
  row[3] = -0.0f;
  row[500] = 0.0f;
  EXPECT_EQ(ScanRow(row.data(), row.size(), nullptr).argmax, 3);
  std::swap(row[3], row[500]);
  EXPECT_EQ(ScanRow(row.data(), row.size(), nullptr).argmax, 3);
}

TEST_P(RowKernelTest, ScanLooksAtMaskedTokensOnly) {
  const std::vector<float> row = {9, 1, 8, 3, -kInf, 3};
  const uint64_t mask = 0b111010;
  const RowScan scan = ScanRow(row.data(), row.size(), &mask);
  EXPECT_EQ(scan.max, 3);
  EXPECT_EQ(scan.argmax, 3);
  EXPECT_EQ(scan.finite_count, 3);
  const uint64_t excluded = 0b010000;
  EXPECT_EQ(ScanRow(row.data(), row.size(), &excluded).argmax, -1);
  const uint64_t none = 0;
  EXPECT_EQ(ScanRow(row.data(), row.size(), &none).argmax, -1);
}

TEST_P(RowKernelTest, ScanFindsTheFirstThatIsNotFiniteMaskedOrNot) {
  const float negative_nan = std::bit_cast<float>(0xFFC00001u);
  const float signalling_nan = std::bit_cast<float>(0x7F800001u);
  const float smallest_negative_nan = std::bit_cast<float>(0xFF800001u);
  for (int32_t n : {1, 8, 9, 300, 50257}) {
    const std::vector<uint64_t> nothing((n + 63) / 64, 0);
    for (float bad : {kNan, negative_nan, signalling_nan, smallest_negative_nan, kInf}) {
      std::vector<float> row = MakeRow(n, 3, 1);
      row[n - 1] = bad;
      EXPECT_EQ(ScanRow(row.data(), n, nullptr).first_non_finite, n - 1);
      EXPECT_EQ(ScanRow(row.data(), n, nothing.data()).first_non_finite, n - 1);
      row[n / 2] = bad;
      EXPECT_EQ(ScanRow(row.data(), n, nullptr).first_non_finite, n / 2);
    }
    std::vector<float> row = MakeRow(n, 3, 1);
    row[n / 2] = -kInf;
    EXPECT_EQ(ScanRow(row.data(), n, nullptr).first_non_finite, -1);
    EXPECT_EQ(ScanRow(row.data(), n, nullptr).finite_count, n - 1);
  }
  const float extremes[] = {-std::numeric_limits<float>::max(), std::numeric_limits<float>::max()};
  EXPECT_EQ(ScanRow(extremes, 2, nullptr).first_non_finite, -1);
}

TEST_P(RowKernelTest, CountGreaterIsStrict) {
  const std::vector<float> row = {1, 2, 2, 3, -kInf, 0.0f, -0.0f};
  EXPECT_EQ(CountGreater(row.data(), row.size(), 2), 1);
  EXPECT_EQ(CountGreater(row.data(), row.size(), -0.0f), 4);
  EXPECT_EQ(CountGreater(row.data(), row.size(), -kInf), 6);
}

TEST_P(RowKernelTest, ApplyCutKeepsAPrefixAndItsWeights) {
  const std::vector<float> row = MakeRow(1000, 0.01, 2);  // many ties
  const std::vector<TokenId> sorted = testing::SortedTokens(row);
  const ExpConstants constants(0.7);
  const float max = row[sorted[0]];
  for (int32_t k : {1, 2, 10, 500, 999, 1000}) {
    std::vector<uint64_t> mask((row.size() + 63) / 64, ~uint64_t{0});
    std::vector<uint64_t> weights(row.size());
    SumWeights(row.data(), row.size(), nullptr, max, constants, weights.data());
    std::vector<float> block_max(BlockCount(row.size()));
    target().scan_row(row.data(), row.size(), nullptr, block_max.data());
    const Kept kept = target().apply_cut(row.data(), row.size(), block_max.data(), row[sorted[k - 1]], sorted[k - 1],
                                         mask.data(), weights.data());
    EXPECT_EQ(kept.count, k);
    uint64_t total = 0;
    for (int32_t i = 0; i < 1000; ++i) {
      const TokenId t = sorted[i];
      EXPECT_EQ(InMask(mask, t), i < k);
      EXPECT_EQ(weights[t], i < k ? Weight(row[t], max, constants) : 0);
      total += weights[t];
    }
    EXPECT_EQ(kept.total_weight, total);
  }
}

}  // namespace
}  // namespace logitd::kernels
