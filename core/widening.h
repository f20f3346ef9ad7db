// Widens rows of 16-bit values to f32. Binary16 and bfloat16 are exact, because each of their values is an f32 value.
// LIN16 is defined by its formula.
//
//   WidenF16(bytes, row);  // row.size() values, little endian, at any address
//
// Thread-safe: free functions without state. NaN stays NaN (with any payload), infinities and zeros keep their sign.
#ifndef LOGITD_CORE_WIDENING_H_
#define LOGITD_CORE_WIDENING_H_

#include <span>

namespace logitd {

// REQUIRES: `bytes` holds 2 * out.size() bytes.
void WidenF16(const char* bytes, std::span<float> out);
void WidenBf16(const char* bytes, std::span<float> out);
// x = fma32(-q, linear_step, linear_max): linear_max - q linear_step rounded once, q the 16 bits as an unsigned number
// in [0, kLin16LargestCode]; q = kLin16Excluded is -inf, whatever the step. REQUIRES: `bytes` holds 2 * out.size()
// bytes; IsLin16Scale(linear_max, linear_step), or the results are not finite.
void WidenLin16(const char* bytes, float linear_max, float linear_step, std::span<float> out);

inline constexpr int kLin16LargestCode = 65534;
inline constexpr int kLin16Excluded = 65535;

// Whether both are finite, the step is not negative, and every code except kLin16Excluded gives a finite value.
bool IsLin16Scale(float linear_max, float linear_step);

}  // namespace logitd

#endif  // LOGITD_CORE_WIDENING_H_
