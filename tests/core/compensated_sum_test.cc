#include "core/compensated_sum.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/reference.h"

namespace logitd {
namespace {

TEST(CompensatedSumTest, KeepsWhatAPlainSumLoses) {
  CompensatedSum sum;
  for (double term : {1.0, 1e100, 1.0, -1e100}) sum.Add(term);
  EXPECT_EQ(sum.value(), 2);
}

TEST(CompensatedSumTest, StaysWithin1e9OfTheExactSumOverTheLongestSequence) {
  // Multiples of 2^-40 below 32 in magnitude: their sum over 2^17 terms is exact in 64-bit integers.
  const std::vector<float> row = testing::MakeRow(131072, 3, 5);
  CompensatedSum sum;
  double plain = 0;
  int64_t exact = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const int64_t term = -static_cast<int64_t>(std::llround(std::abs(row[i]) * 0x1p40)) - static_cast<int64_t>(i * i);
    exact += term;
    sum.Add(static_cast<double>(term) * 0x1p-40);
    plain += static_cast<double>(term) * 0x1p-40;
  }
  const double expected = static_cast<double>(static_cast<long double>(exact) * 0x1p-40L);
  EXPECT_NEAR(sum.value(), expected, 1e-9);
  EXPECT_NE(plain, sum.value());
}

TEST(CompensatedSumTest, GoesOnFromItsTwoParts) {
  const std::vector<float> row = testing::MakeRow(1000, 30, 6);
  CompensatedSum whole, first;
  for (int i = 0; i < 1000; ++i) whole.Add(row[i] * 0.1);
  for (int i = 0; i < 400; ++i) first.Add(row[i] * 0.1);
  CompensatedSum resumed{first.sum, first.compensation};
  for (int i = 400; i < 1000; ++i) resumed.Add(row[i] * 0.1);
  EXPECT_EQ(whole.sum, resumed.sum);
  EXPECT_EQ(whole.compensation, resumed.compensation);
}

}  // namespace
}  // namespace logitd
