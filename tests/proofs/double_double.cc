#include "tests/proofs/double_double.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace logitd::proofs {
namespace {

// 2^(i / kTableSize) for every i: leaves |r| <= ln(2) / 2048 to the series, whose powers fall fast then.
constexpr int kTableSize = 1024;

// ln 2 in two parts, together within 2^-111.
constexpr double kLn2High = 0x1.62e42fefa39efp-1;
constexpr double kLn2Low = 0x1.abc9e3b39803fp-56;

// exp(r) - 1 - r for |r| <= 2^-11.5: the powers up to the 4th in two doubles, the rest (below 2^-64) in one.
DoubleDouble ExpSeries(DoubleDouble r) {
  const double x = r.high;
  const double tail = x * (1.0 / 120 + x * (1.0 / 720 + x * (1.0 / 5040 + x * (1.0 / 40320))));
  // 1/24, 1/6 as two doubles each.
  constexpr DoubleDouble kTwentyFourth{0x1.5555555555555p-5, 0x1.5555555555555p-59};
  constexpr DoubleDouble kSixth{0x1.5555555555555p-3, 0x1.5555555555555p-57};
  DoubleDouble sum = kTwentyFourth + DoubleDouble{tail, 0};
  sum = kSixth + r * sum;
  sum = DoubleDouble{0.5, 0} + r * sum;
  return r * r * sum;
}

DoubleDouble SquareRoot(DoubleDouble x) {
  const double root = std::sqrt(x.high);
  const DoubleDouble rest = x - TwoProduct(root, root);
  return QuickTwoSum(root, rest.high / (2 * root));
}

std::vector<DoubleDouble> MakePowers() {
  // Roots of 2, then their products: at most 10 factors, so about 2^-100.
  std::vector<DoubleDouble> roots;
  DoubleDouble root{2, 0};
  for (int size = kTableSize; size > 1; size /= 2) roots.push_back(root = SquareRoot(root));
  std::vector<DoubleDouble> powers(kTableSize, DoubleDouble{1, 0});
  for (int i = 0; i < kTableSize; ++i) {
    for (size_t bit = 0; bit < roots.size(); ++bit) {
      if ((i >> (roots.size() - 1 - bit)) & 1) powers[i] = powers[i] * roots[bit];
    }
  }
  return powers;
}

const std::vector<DoubleDouble> kPowers = MakePowers();

}  // namespace

DoubleDouble Exp(DoubleDouble x) {
  if (x.high < -700) return {};
  const double n = std::nearbyint(x.high * (kTableSize / kLn2High));
  const double scaled = n / kTableSize;
  const DoubleDouble r = (x - TwoProduct(scaled, kLn2High)) - TwoProduct(scaled, kLn2Low);
  const DoubleDouble series = DoubleDouble{1, 0} + (r + ExpSeries(r));
  const auto steps = static_cast<int64_t>(n);
  const int64_t whole = (steps - (steps & (kTableSize - 1))) / kTableSize;
  const DoubleDouble power = kPowers[static_cast<size_t>(steps & (kTableSize - 1))] * series;
  // 2^whole; above 2^-1022 for the range of x. std::ldexp takes as long as all the rest.
  const double scale = std::bit_cast<double>(static_cast<uint64_t>(whole + 1023) << 52);
  return {power.high * scale, power.low * scale};
}

DoubleDouble Log(DoubleDouble x) {
  // One step of Newton's from the double: e = x exp(-y) - 1 is about 1e-16, and its cube is beyond what counts.
  const double y = std::log(x.high);
  const DoubleDouble e = x * Exp({-y, 0}) - DoubleDouble{1, 0};
  const DoubleDouble correction = e - DoubleDouble{e.high * e.high / 2, 0};
  return DoubleDouble{y, 0} + correction;
}

}  // namespace logitd::proofs
