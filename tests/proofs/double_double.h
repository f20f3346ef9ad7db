// Numbers of about 106 bits as unevaluated sums of two doubles, with exp and ln: what core's log-probs are judged by.
// Fast enough for the billions of exponentials of the long proof (some 20 ns each), which __float128 is not.
//
//   DoubleDouble z;
//   for (float x : row) z = z + Exp(Quotient(Difference(x, max), temperature));
//   DoubleDouble log_sum_exp = Log(z);
//
// Source: T. J. Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971);
// D. E. Knuth, TAOCP 2, 4.2.2. Shares no code with core. Judged itself against 50 digits: log_prob_reference_check.py.
// Thread-safe: values and functions without state. REQUIRES: round to nearest, no contraction (-ffp-contract=off).
#ifndef LOGITD_TESTS_PROOFS_DOUBLE_DOUBLE_H_
#define LOGITD_TESTS_PROOFS_DOUBLE_DOUBLE_H_

#include <cmath>

namespace logitd::proofs {

// high + low, |low| <= ulp(high) / 2.
struct DoubleDouble {
  double high = 0;
  double low = 0;
};

// Exactly a + b.
inline DoubleDouble TwoSum(double a, double b) {
  const double sum = a + b;
  const double from_b = sum - a;
  return {sum, (a - (sum - from_b)) + (b - from_b)};
}
// The same; REQUIRES: |a| >= |b| or a == 0.
inline DoubleDouble QuickTwoSum(double a, double b) {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}
// Exactly a b.
inline DoubleDouble TwoProduct(double a, double b) {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

// Relative errors of a few 2^-104.
inline DoubleDouble operator+(DoubleDouble a, DoubleDouble b) {
  const DoubleDouble high = TwoSum(a.high, b.high);
  const DoubleDouble low = TwoSum(a.low, b.low);
  const DoubleDouble sum = QuickTwoSum(high.high, high.low + low.high);
  return QuickTwoSum(sum.high, sum.low + low.low);
}
inline DoubleDouble operator-(DoubleDouble a, DoubleDouble b) { return a + DoubleDouble{-b.high, -b.low}; }
inline DoubleDouble operator*(DoubleDouble a, DoubleDouble b) {
  const DoubleDouble product = TwoProduct(a.high, b.high);
  return QuickTwoSum(product.high, product.low + (a.high * b.low + a.low * b.high));
}

// Exactly x - max of two f32 values (both are doubles).
inline DoubleDouble Difference(double x, double max) { return TwoSum(x, -max); }
// a / divisor. REQUIRES: divisor is finite and not 0.
inline DoubleDouble Quotient(DoubleDouble a, double divisor) {
  const double high = a.high / divisor;
  const DoubleDouble back = TwoProduct(high, divisor);
  const double rest = ((a.high - back.high) - back.low) + a.low;
  return QuickTwoSum(high, rest / divisor);
}

// exp(x). Range: x <= 700; 0 below -700. Relative error < 1e-28 for |x| <= 100.
DoubleDouble Exp(DoubleDouble x);
// ln(x). Range: x in [2^-500, 2^500]. Absolute error < 1e-28 (1 + |ln x|).
DoubleDouble Log(DoubleDouble x);

}  // namespace logitd::proofs

#endif  // LOGITD_TESTS_PROOFS_DOUBLE_DOUBLE_H_
