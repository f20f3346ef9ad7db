#include "core/exact_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tests/core/golden.h"

namespace logitd {
namespace {

using ::logitd::testing::Number;
using ::logitd::testing::ReadGolden;

// The error of `actual` in units in the last place of the exact value high + low.
double ErrorInUlp(double actual, double high, double low) {
  const double ulp = std::nextafter(std::abs(high), INFINITY) - std::abs(high);
  return std::abs((actual - high) - low) / ulp;
}

template <typename Function>
void ExpectWithinOneUlp(const char* name, Function function) {
  const auto golden = ReadGolden("exact_math.json");
  ASSERT_GT(golden[name].size(), 500);
  const double tolerance = golden["tolerance_ulp"];
  double worst = 0;
  for (const auto& c : golden[name]) {
    const double x = Number(c["x"]);
    const double error = ErrorInUlp(function(x), Number(c["high"]), Number(c["low"]));
    EXPECT_LE(error, tolerance) << name << "(" << std::hexfloat << x << ")";
    worst = std::max(worst, error);
  }
  ::testing::Test::RecordProperty("worst_ulp", std::to_string(worst));
}

TEST(ExactMathTest, LogIsWithinOneUlp) { ExpectWithinOneUlp("log", Log); }
// -745 has a subnormal result, one of whose steps is its unit.
TEST(ExactMathTest, ExpIsWithinOneUlp) { ExpectWithinOneUlp("exp", Exp); }

TEST(ExactMathTest, SpecialValuesAreExact) {
  EXPECT_EQ(Log(1), 0);
  EXPECT_FALSE(std::signbit(Log(1)));
  EXPECT_EQ(Exp(0), 1);
  EXPECT_EQ(Exp(-0.0), 1);
  EXPECT_EQ(Exp(-746), 0);
  EXPECT_EQ(Exp(-std::numeric_limits<double>::max()), 0);
  EXPECT_EQ(Exp(-std::numeric_limits<double>::infinity()), 0);
  EXPECT_EQ(Exp(709.79), std::numeric_limits<double>::infinity());
  EXPECT_EQ(LogOfWeight(uint64_t{1} << 42), 0);
  EXPECT_EQ(LogOfWeight(uint64_t{1} << 62), Log(0x1p20));
  EXPECT_NEAR(LogOfWeight(1), -42 * std::log(2), 1e-14);
}

// What a fixed sequence of operations is for: these bits are the same everywhere. Values of numerics version 1.
TEST(ExactMathTest, BitsAreFrozen) {
  EXPECT_EQ(Log(3), 0x1.193ea7aad030bp+0);
  EXPECT_EQ(Log(0.1), -0x1.26bb1bbb55515p+1);
  EXPECT_EQ(Exp(-1), 0x1.78b56362cef38p-2);
  EXPECT_EQ(Exp(-0.056343103295808098), 0x1.e3f330db936cdp-1);
  uint64_t checksum = 0;
  uint64_t state = 1;
  for (int i = 0; i < 200000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double x = 1 + static_cast<double>(state >> 11) * 0x1p-53 * (i % 2 == 0 ? 1 : 0x1p20);
    checksum = checksum * 31 + std::bit_cast<uint64_t>(Log(x));
    checksum = checksum * 31 + std::bit_cast<uint64_t>(Exp(-static_cast<double>(state >> 11) * 0x1p-46));
  }
  EXPECT_EQ(checksum, 11684535787285869120u);
}

}  // namespace
}  // namespace logitd
