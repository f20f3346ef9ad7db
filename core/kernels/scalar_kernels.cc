// The reference target: written to be read, compiled for any processor. std::fma is a true fused operation everywhere;
// where the processor has none it is a call into the C library, which is slow and gives the same bits.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/kernels/exponential.h"
#include "core/kernels/row_kernels.h"
#include "core/kernels/scalar_head.h"

namespace logitd::kernels {
namespace {

static_assert(std::bit_cast<uint64_t>(kRoundToWeight) == kRoundToWeightBits);
static_assert(std::bit_cast<uint32_t>(kRoundToHigh) == kRoundToHighBits);
static_assert(std::bit_cast<uint32_t>(kRoundToInteger) == kRoundToIntegerBits);

constexpr double kLog2E = 0x1.71547652b82fep+0;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool InMask(const uint64_t* mask, size_t i) { return mask == nullptr || ((mask[i / 64] >> (i % 64)) & 1); }

float Difference(float logit, float max, const ExpConstants& constants) {
  const float difference = logit - max;
  return difference > constants.lowest_difference ? difference : constants.lowest_difference;
}

// exp(difference / temperature).
float Exponential(float difference, const ExpConstants& constants) {
  const float shifted = std::fma(difference, constants.scale_high, kRoundToInteger);
  const float n = shifted - kRoundToInteger;
  float f = std::fma(difference, constants.scale_high, -n);
  f = std::fma(difference, constants.scale_low, f);
  float p = kExp2Coefficients[0];
  for (size_t i = 1; i < kExp2CoefficientCount; ++i) p = std::fma(p, f, kExp2Coefficients[i]);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23));
}

uint64_t ToWeight(float value) {
  return std::bit_cast<uint64_t>(static_cast<double>(value) + kRoundToWeight) - kRoundToWeightBits;
}

RowScan ScanRow(const float* logits, size_t n, const uint64_t* mask, float* block_max) {
  RowScan scan{-kInfinity, -1, -1, 0};
  if (block_max != nullptr) {
    for (size_t block = 0; block < BlockCount(n); ++block) block_max[block] = -kInfinity;
  }
  for (size_t i = 0; i < n; ++i) {
    if (!(logits[i] < kInfinity)) {
      scan.first_non_finite = static_cast<int32_t>(i);
      return scan;
    }
    if (!InMask(mask, i) || logits[i] == -kInfinity) continue;
    ++scan.finite_count;
    const float logit = logits[i] + 0.0f;  // -0 becomes +0
    if (logit > scan.max) {
      scan.max = logit;
      scan.argmax = static_cast<int32_t>(i);
    }
    if (block_max != nullptr && logit > block_max[i / kBlockSize]) block_max[i / kBlockSize] = logit;
  }
  return scan;
}

uint64_t SumWeights(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants,
                    uint64_t* block_sums) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) {
    if (block_sums != nullptr && i % kSumBlockSize == 0) block_sums[i / kSumBlockSize] = 0;
    const uint64_t weight = InMask(mask, i) ? Weight(logits[i], max, constants) : 0;
    if (block_sums != nullptr) block_sums[i / kSumBlockSize] += weight;
    total += weight;
  }
  return total;
}

uint64_t SumWeightsAhead(const float* logits, size_t n, float max, const ExpConstants& constants,
                         const float* /*next*/) {
  return SumWeights(logits, n, nullptr, max, constants, nullptr);
}

Mass SumBetween(const float* logits, size_t n, const uint64_t* mask, const float* /*block_max*/, float low, float high,
                float max, const ExpConstants& constants, uint64_t* block_sums) {
  Mass mass{0, 0};
  for (size_t i = 0; i < n; ++i) {
    if (block_sums != nullptr && i % kSumBlockSize == 0) block_sums[i / kSumBlockSize] = 0;
    if (!InMask(mask, i) || !(low < logits[i] && logits[i] < high)) continue;
    const uint64_t weight = Weight(logits[i], max, constants);
    if (block_sums != nullptr) block_sums[i / kSumBlockSize] += weight;
    ++mass.count;
    mass.weight += weight;
  }
  return mass;
}

WeightBounds BoundBelow(const float* logits, size_t n, const uint64_t* mask, float high, float max,
                        const ExpConstants& constants) {
  const float scale = constants.scale_high * kChordScale;
  double chords = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!InMask(mask, i) || !(logits[i] < high)) continue;
    const float bits = std::fma(logits[i] - max, scale, kChordOffset);
    if (bits > kChordLowest) chords += std::bit_cast<float>(std::bit_cast<uint32_t>(bits) << kChordShift);
  }
  return BoundsOfChords(chords, n);
}

uint64_t Weigh(const float* logits, size_t n, float max, const ExpConstants& constants, uint64_t* weights) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) {
    weights[i] = Weight(logits[i], max, constants);
    total += weights[i];
  }
  return total;
}

EntropySums SumEntropy(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants) {
  EntropySums sums{0, 0};
  for (size_t i = 0; i < n; ++i) {
    if (!InMask(mask, i)) continue;
    const float difference = Difference(logits[i], max, constants);
    const float exponential = Exponential(difference, constants);
    sums.weights += ToWeight(exponential);
    sums.terms += ToWeight(exponential * (-difference * constants.inverse_temperature));
  }
  return sums;
}

float MinFinite(const float* logits, size_t n, const uint64_t* mask) {
  float min = kInfinity;
  for (size_t i = 0; i < n; ++i) {
    if (InMask(mask, i) && logits[i] > -kInfinity && logits[i] < min) min = logits[i];
  }
  return min;
}

SpreadSums SumSpread(const float* logits, size_t n, const uint64_t* mask, float max, float scale) {
  SpreadSums sums{0, 0};
  for (size_t i = 0; i < n; ++i) {
    if (!InMask(mask, i) || logits[i] == -kInfinity) continue;
    const float scaled = (max - logits[i]) * scale;
    // The difference may have overflowed.
    const float clamped = scaled < kLargestSpread ? scaled : kLargestSpread;
    const float rounded = (clamped + kRoundToInteger) - kRoundToInteger;
    const uint64_t q = static_cast<uint64_t>(rounded);
    sums.values += q;
    sums.squares += q * q;
  }
  return sums;
}

int32_t CountGreater(const float* logits, size_t n, const uint64_t* mask, float value) {
  int32_t count = 0;
  for (size_t i = 0; i < n; ++i) count += InMask(mask, i) && logits[i] > value;
  return count;
}

void SumAtLeast(const float* logits, size_t n, const uint64_t* weights, const float* bounds, uint64_t* sums) {
  for (size_t j = 0; j < kBoundCount; ++j) {
    sums[j] = 0;
    for (size_t i = 0; i < n; ++i) sums[j] += logits[i] >= bounds[j] ? weights[i] : 0;
  }
}

size_t Collect(const float* logits, size_t begin, size_t end, const uint64_t* mask, float lowest, float highest,
               int32_t* ids) {
  size_t count = 0;
  for (size_t i = begin; i < end; ++i) {
    if (InMask(mask, i) && lowest <= logits[i] && logits[i] <= highest) ids[count++] = static_cast<int32_t>(i);
  }
  return count;
}

int32_t KeepBetween(const float* logits, size_t n, const float* /*block_max*/, float low, float high, uint64_t* mask) {
  int32_t count = 0;
  for (size_t i = 0; i < n; ++i) {
    if (!(low <= logits[i] && logits[i] <= high)) mask[i / 64] &= ~(uint64_t{1} << (i % 64));
    count += InMask(mask, i);
  }
  if (n % 64 != 0) mask[n / 64] &= (uint64_t{1} << (n % 64)) - 1;
  return count;
}

void Gather(const float* logits, const int32_t* ids, size_t count, float* out) {
  for (size_t i = 0; i < count; ++i) out[i] = logits[ids[i]];
}

uint16_t HalfAt(const void* values, size_t i) {
  uint16_t half;
  std::memcpy(&half, static_cast<const char*>(values) + 2 * i, sizeof(half));
  return half;
}

void WidenF16(const void* values, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const uint32_t half = HalfAt(values, i);
    const uint32_t sign = (half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    const uint32_t fraction = half & 0x3ffu;
    uint32_t magnitude;
    if (exponent == 0x1f) {
      magnitude = 0x7f800000u | (fraction << 13);
    } else if (exponent != 0) {
      magnitude = ((exponent + 112) << 23) | (fraction << 13);
    } else {
      // Zero or subnormal: fraction * 2^-24, a normal f32.
      magnitude = std::bit_cast<uint32_t>(static_cast<float>(fraction) * 0x1p-24f);
    }
    out[i] = std::bit_cast<float>(sign | magnitude);
  }
}

void WidenBf16(const void* values, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = std::bit_cast<float>(uint32_t{HalfAt(values, i)} << 16);
}

void WidenLin16(const void* values, size_t n, float linear_max, float linear_step, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const uint16_t q = HalfAt(values, i);
    out[i] = q == kLin16Excluded ? -kInfinity : std::fma(-static_cast<float>(q), linear_step, linear_max);
  }
}

}  // namespace

ExpConstants::ExpConstants(double temperature) {
  const double scale = kLog2E / temperature;
  scale_high = static_cast<float>(scale);
  scale_low = static_cast<float>(scale - static_cast<double>(scale_high));
  lowest_difference = static_cast<float>(-126.0 / scale);
  inverse_temperature = static_cast<float>(1.0 / temperature);
}

uint64_t Weight(float logit, float max, const ExpConstants& constants) {
  return ToWeight(Exponential(Difference(logit, max, constants), constants));
}

const RowKernels kScalarKernels = {
    "SCALAR",   ScanRow,   SumWeights, SumWeightsAhead, SumBetween,          BoundBelow, Weigh,
    SumEntropy, MinFinite, SumSpread,  CountGreater,    SumAtLeast,          Collect,    KeepBetween,
    Gather,     WidenF16,  WidenBf16,  WidenLin16,      ComputeLogitsScalar,
};

}  // namespace logitd::kernels
