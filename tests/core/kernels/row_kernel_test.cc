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
  uint64_t SumWeights(const float* logits, size_t n, const uint64_t* mask, float max,
                      const ExpConstants& constants) const {
    return target().sum_weights(logits, n, mask, max, constants, nullptr);
  }
  std::vector<uint64_t> Weigh(const std::vector<float>& row, float max, const ExpConstants& constants) const {
    std::vector<uint64_t> weights(row.size(), 99);
    target().weigh(row.data(), row.size(), max, constants, weights.data());
    return weights;
  }
  uint64_t SumEntropyTerms(const float* logits, size_t n, const uint64_t* mask, float max,
                           const ExpConstants& constants) const {
    const EntropySums sums = target().sum_entropy(logits, n, mask, max, constants);
    EXPECT_EQ(sums.weights, SumWeights(logits, n, mask, max, constants));
    return sums.terms;
  }
  int32_t CountGreater(const float* logits, size_t n, float value) const {
    return target().count_greater(logits, n, nullptr, value);
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
    EXPECT_EQ(SumWeights(row.data(), row.size(), nullptr, max, constants), c["total_weight"].get<uint64_t>());
    EXPECT_EQ(Weigh(row, max, constants), c["weights"].get<std::vector<uint64_t>>());
    EXPECT_EQ(SumEntropyTerms(row.data(), row.size(), nullptr, max, constants), c["entropy_terms"].get<uint64_t>());
  }
}

// A checksum of 2^20 weights: few of them feel the last bit of a coefficient. Values of numerics version 1.
TEST_P(RowKernelTest, BitsAreFrozen) {
  const std::vector<float> row = testing::GeneratedRow(1 << 20, 31, 16);
  const ExpConstants constants(0.7);
  const float max = ScanRow(row.data(), row.size(), nullptr).max;
  uint64_t checksum = 0;
  for (uint64_t weight : Weigh(row, max, constants)) checksum = checksum * 31 + weight;
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
      EXPECT_EQ(SumWeights(row.data(), n, nullptr, max, constants), total);
      EXPECT_EQ(Weigh(row, max, constants), expected);
      EXPECT_EQ(SumWeights(row.data(), n, mask.data(), max, constants), masked_total);
      std::vector<uint64_t> block_sums(SumBlockCount(n), 99);
      EXPECT_EQ(target().sum_weights(row.data(), n, mask.data(), max, constants, block_sums.data()), masked_total);
      for (size_t block = 0; block < block_sums.size(); ++block) {
        uint64_t sum = 0;
        for (size_t i = block * kSumBlockSize; i < std::min<size_t>(n, (block + 1) * kSumBlockSize); ++i) {
          sum += InMask(mask, i) ? expected[i] : 0;
        }
        ASSERT_EQ(block_sums[block], sum) << block;
      }
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
      EXPECT_EQ(SumWeights(row.data() + start, n, nullptr, here.max, constants),
                SumWeights(copy.data(), n, nullptr, here.max, constants));
    }
  }
}

TEST_P(RowKernelTest, SumsDoNotDependOnTheOrder) {
  std::vector<float> row = MakeRow(50257, 5, 9);
  std::mt19937 random(4);
  for (double temperature : {0.3, 1.0, 2.5}) {
    const ExpConstants constants(temperature);
    const float max = *std::max_element(row.begin(), row.end());
    const uint64_t total = SumWeights(row.data(), row.size(), nullptr, max, constants);
    const uint64_t terms = SumEntropyTerms(row.data(), row.size(), nullptr, max, constants);
    std::shuffle(row.begin(), row.end(), random);
    EXPECT_EQ(SumWeights(row.data(), row.size(), nullptr, max, constants), total);
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

TEST_P(RowKernelTest, BetweenIsStrictForSumsAndInclusiveForSets) {
  const std::vector<float> row = {1, 2, 2, 3, -kInf, 0.0f, -0.0f};
  const ExpConstants constants(0.7);
  const float block_max = 3;
  const Mass mass = target().sum_between(row.data(), row.size(), nullptr, &block_max, 0, 3, 3, constants, nullptr);
  EXPECT_EQ(mass.count, 3);
  EXPECT_EQ(mass.weight, Weight(1, 3, constants) + 2 * Weight(2, 3, constants));
  EXPECT_EQ(target().sum_between(row.data(), row.size(), nullptr, &block_max, -kInf, kInf, 3, constants, nullptr).count,
            6);
  uint64_t mask = ~uint64_t{0};
  EXPECT_EQ(target().keep_between(row.data(), row.size(), &block_max, 0, 2, &mask), 5);
  EXPECT_EQ(mask, 0b1100111);
}

TEST_P(RowKernelTest, BoundsHoldTheSumAndAreNotFarApart) {
  for (int32_t n : kSizes) {
    std::vector<float> row = MakeRow(n, 3, 1);
    row[n / 2] = -kInf;
    const float max = *std::ranges::max_element(row);
    const std::vector<uint64_t> third = EveryThird(n), nothing((n + 63) / 64, 0);
    for (double temperature : kTemperatures) {
      const ExpConstants constants(temperature);
      for (const uint64_t* mask : {static_cast<const uint64_t*>(nullptr), third.data(), nothing.data()}) {
        for (float high : {max, max - 1, -2.0f, kInf, -kInf}) {
          SCOPED_TRACE(std::to_string(n) + " T " + std::to_string(temperature) + " below " + std::to_string(high));
          const std::vector<float> block_max(BlockCount(n), max);
          const uint64_t sum =
              target().sum_between(row.data(), n, mask, block_max.data(), -kInf, high, max, constants, nullptr).weight;
          const WeightBounds bounds = target().bound_below(row.data(), n, mask, high, max, constants);
          ASSERT_LE(bounds.at_least, sum);
          ASSERT_GE(bounds.at_most, sum);
          ASSERT_LE(bounds.at_most - bounds.at_least, sum / 1000 * 64 + 2 * static_cast<uint64_t>(n) + 1001);
        }
      }
    }
  }
  const float extremes[] = {-std::numeric_limits<float>::max(), std::numeric_limits<float>::max(), 0, -kInf};
  for (double temperature : kTemperatures) {
    const ExpConstants constants(temperature);
    const WeightBounds bounds = target().bound_below(extremes, 4, nullptr, kInf, extremes[1], constants);
    EXPECT_LE(bounds.at_least, uint64_t{1} << kWeightBits);
    EXPECT_GE(bounds.at_most, uint64_t{1} << kWeightBits);
  }
}

TEST_P(RowKernelTest, SpreadGivesTheStandardDeviation) {
  const std::vector<float> row = {6, 3, 0.5, 0.5, -kInf};
  // Distances 0, 3, 5.5, 5.5 in units of 2^-10.
  const SpreadSums sums = target().sum_spread(row.data(), row.size(), nullptr, 6, 1024);
  EXPECT_EQ(sums.values, 14 * 1024);
  EXPECT_EQ(sums.squares, uint64_t{1024 * 1024} * 139 / 2);
  EXPECT_EQ(target().min_finite(row.data(), row.size(), nullptr), 0.5f);
}

}  // namespace
}  // namespace logitd::kernels
