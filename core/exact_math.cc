#include "core/exact_math.h"

#include <bit>
#include <cmath>
#include <iterator>
#include <limits>

namespace logitd {
namespace {

// ln 2 in two parts; the high one ends in 21 zero bits, so that its product with any exponent is exact.
constexpr double kLn2High = 0x1.62e42fee00000p-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kLog2E = 0x1.71547652b82fep+0;
// Adding and subtracting it rounds to an integer, ties to even.
constexpr double kRoundToInteger = 0x1.8p52;

double PowerOfTwo(int exponent) { return std::bit_cast<double>(static_cast<uint64_t>(exponent + 1023) << 52); }

}  // namespace

double Log(double x) {
  int exponent = 0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 0x1p54;
    exponent = -54;
  }
  // x = 2^exponent m with m in about [sqrt(1/2), sqrt(2)): no cancellation between the two parts of the result.
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  constexpr uint64_t kSqrtHalf = 0x3FE6A09E667F3BCD;
  const uint64_t shifted = bits - kSqrtHalf;
  const int shift = static_cast<int>(static_cast<int64_t>(shifted) >> 52);
  const double m = std::bit_cast<double>(bits - (static_cast<uint64_t>(shift) << 52));
  const double k = exponent + shift;

  // ln m = 2 atanh(s) = 2 s + s z (2/3 + 2/5 z + ...), s = (m - 1) / (m + 1) in two doubles, z = s^2 <= 0.0295: the
  // first term left out is below 2^-63 of the first.
  const double f = m - 1;
  const double divisor = 2 + f;
  const double divisor_low = f - (divisor - 2);
  const double s = f / divisor;
  const double s_low = std::fma(-s, divisor_low, std::fma(-s, divisor, f)) / divisor;
  const double z = s * s;
  constexpr double kSeries[] = {2.0 / 25, 2.0 / 23, 2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15,
                                2.0 / 13, 2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3};
  double series = kSeries[0];
  for (size_t i = 1; i < std::size(kSeries); ++i) series = std::fma(series, z, kSeries[i]);

  // |k ln 2| is 0 or larger than |2 s|, so the sum's rounding error is exactly what is added back.
  const double large = k * kLn2High;
  const double small = 2 * s;
  const double sum = large + small;
  const double rest = (large - sum) + small;
  return sum + (rest + std::fma(s * z, series, std::fma(k, kLn2Low, 2 * s_low)));
}

double Exp(double x) {
  if (x > 0x1.62e42fefa39efp+9) return std::numeric_limits<double>::infinity();
  if (x < -745.2) return 0;
  // x = n ln 2 + r, |r| <= 0.347, r in two doubles.
  const double n = std::fma(x, kLog2E, kRoundToInteger) - kRoundToInteger;
  const double r = std::fma(-n, kLn2High, x);
  const double r_low = -n * kLn2Low;
  const double reduced = r + r_low;
  const double reduced_low = (r - reduced) + r_low;
  // e^r = 1 + r + r^2 (1/2! + r/3! + ...); the first term left out is below 2^-57.
  constexpr double kSeries[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                                1.0 / 120,        1.0 / 24,        1.0 / 6,        1.0 / 2};
  double series = kSeries[0];
  for (size_t i = 1; i < std::size(kSeries); ++i) series = std::fma(series, reduced, kSeries[i]);
  const double sum = 1 + reduced;
  const double rest = (1 - sum) + reduced;
  const double value = sum + (rest + std::fma(reduced * reduced, series, reduced_low));
  // In two factors, for 2^n alone may be no normal double.
  const int exponent = static_cast<int>(n);
  const int half = exponent / 2;
  return value * PowerOfTwo(half) * PowerOfTwo(exponent - half);
}

double LogOfWeight(uint64_t weight) { return Log(static_cast<double>(weight) * 0x1p-42); }

}  // namespace logitd
