// ln and exp in double by one fixed sequence of IEEE operations. The C library's differ between hosts; these do not.
//
// Thread-safe. Normative: docs/numerics.md, section 3.
#ifndef LOGITD_CORE_EXACT_MATH_H_
#define LOGITD_CORE_EXACT_MATH_H_

#include <cstdint>

namespace logitd {

// ln(x). Range: x > 0, finite; subnormal numbers too. Error: <= 1 ulp against tests/golden. Log(1) == 0 exactly.
double Log(double x);
// exp(x). Range: any but NaN; 0 below -745.2, +inf above 709.78. Error: <= 1 ulp for results >= 2^-1022. Exp(0) == 1
// exactly.
double Exp(double x);
// ln(weight * 2^-42): the log of a sum of weights. Range: weight >= 1.
double LogOfWeight(uint64_t weight);

}  // namespace logitd

#endif  // LOGITD_CORE_EXACT_MATH_H_
