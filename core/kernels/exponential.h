// The constants of the exponential that all targets share (docs/numerics.md, section 1).
#ifndef LOGITD_CORE_KERNELS_EXPONENTIAL_H_
#define LOGITD_CORE_KERNELS_EXPONENTIAL_H_

#include <cstddef>
#include <cstdint>

namespace logitd::kernels {

// 1.5 * 2^23: adding it to a float rounds that to an integer, ties to even, in the low bits.
inline constexpr float kRoundToInteger = 0x1.8p23f;
// 2^f for f in [-1/2, 1/2], the highest power first.
inline constexpr size_t kExp2CoefficientCount = 7;
inline constexpr float kExp2Coefficients[kExp2CoefficientCount] = {
    0x1.41fbbap-13f, 0x1.5f3e54p-10f, 0x1.3b2d4cp-7f, 0x1.c6aee8p-5f, 0x1.ebfbdcp-3f, 0x1.62e430p-1f, 1.0f};
inline constexpr uint32_t kRoundToIntegerBits = 0x4B400000;
// 1.5 * 2^(23 - 21): the same, to a multiple of 2^-21.
inline constexpr int kHighBits = 21;
inline constexpr float kRoundToHigh = 6.0f;
inline constexpr uint32_t kRoundToHighBits = 0x40C00000;
// 1.5 * 2^(52 - 42): adding it to a double rounds that to a multiple of 2^-42, ties to even, in the low bits.
inline constexpr double kRoundToWeight = 1536.0;
inline constexpr uint64_t kRoundToWeightBits = 0x4098000000000000;

}  // namespace logitd::kernels

#endif  // LOGITD_CORE_KERNELS_EXPONENTIAL_H_
