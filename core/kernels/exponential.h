// The constants of the exponential that all targets share (docs/numerics.md, section 1).
#ifndef LOGITD_CORE_KERNELS_EXPONENTIAL_H_
#define LOGITD_CORE_KERNELS_EXPONENTIAL_H_

#include <cstddef>
#include <cstdint>

#include "core/kernels/row_kernels.h"

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

// The bits of the f32 number 2^t are nearly (t + 127) 2^23: as a number, those bits are 2^floor(t) (1 + t - floor(t)),
// the chord, which is at least 2^t and at most kChordExcess times as much.
inline constexpr double kChordExcess = 1.0615;
// t is rounded to a multiple of 2^-14 by adding it to 2^23; the shift drops that, and makes a multiple of 2^-23.
inline constexpr float kChordScale = 0x1p14f;
inline constexpr float kChordLowest = 0x1p23f;
inline constexpr float kChordOffset = kChordLowest + 127 * kChordScale;
inline constexpr int kChordShift = 9;

// Bounds from the sum of chords of n tokens. A chord, and so the sum, is off by at most 2^-14 of itself: t is off by
// 2^-15 and the rounding of (x - max) / T. A weight is rounded to an integer.
inline WeightBounds BoundsOfChords(double chords, size_t n) {
  constexpr double kSlack = 0x1p-10;
  const double weights = chords * 0x1p42;
  const double at_least = weights * (1 - kSlack) / kChordExcess - static_cast<double>(n);
  return {at_least > 0 ? static_cast<uint64_t>(at_least) : 0, static_cast<uint64_t>(weights * (1 + kSlack)) + n + 1};
}

}  // namespace logitd::kernels

#endif  // LOGITD_CORE_KERNELS_EXPONENTIAL_H_
