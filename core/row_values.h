// Rows of 16-bit values -> f32, exactly: every binary16 and every bfloat16 value is an f32 value.
//
//   WidenF16(bytes, row);  // row.size() values, little endian, at any address
//
// Thread-safe: free functions without state. NaN stays NaN (with any payload), infinities and zeros keep their sign.
#ifndef LOGITD_CORE_ROW_VALUES_H_
#define LOGITD_CORE_ROW_VALUES_H_

#include <span>

namespace logitd {

// REQUIRES: `bytes` holds 2 * out.size() bytes.
void WidenF16(const char* bytes, std::span<float> out);
void WidenBf16(const char* bytes, std::span<float> out);
// LIN16: x = fma(-q, linear_step, linear_max) of uint16 q, in one rounding; q = 65535 is -inf.
void WidenLin16(const char* bytes, float linear_max, float linear_step, std::span<float> out);

}  // namespace logitd

#endif  // LOGITD_CORE_ROW_VALUES_H_
