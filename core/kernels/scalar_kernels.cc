// The reference target: written to be read, compiled for any processor. std::fma is a true fused operation everywhere;
// where the processor has none it is a call into the C library, which is slow and gives the same bits.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/kernels/exponential.h"
#include "core/kernels/row_kernels.h"

namespace logitd::kernels {
namespace {

static_assert(std::bit_cast<uint64_t>(kRoundToWeight) == kRoundToWeightBits);

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

uint64_t EntropyTerm(float logit, float max, const ExpConstants& constants) {
  const float difference = Difference(logit, max, constants);
  return ToWeight(Exponential(difference, constants) * (-difference * constants.inverse_temperature));
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
                    uint64_t* weights) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t weight = InMask(mask, i) ? Weight(logits[i], max, constants) : 0;
    if (weights != nullptr) weights[i] = weight;
    total += weight;
  }
  return total;
}

uint64_t SumEntropyTerms(const float* logits, size_t n, const uint64_t* mask, float max,
                         const ExpConstants& constants) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) {
    if (InMask(mask, i)) total += EntropyTerm(logits[i], max, constants);
  }
  return total;
}

int32_t CountGreater(const float* logits, size_t n, float value) {
  int32_t count = 0;
  for (size_t i = 0; i < n; ++i) count += logits[i] > value;
  return count;
}

void CountAtLeast(const float* logits, size_t n, const uint64_t* mask, const float* bounds, uint64_t* counts) {
  for (size_t j = 0; j < kBoundCount; ++j) {
    counts[j] = 0;
    for (size_t i = 0; i < n; ++i) counts[j] += InMask(mask, i) && logits[i] >= bounds[j];
  }
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

Kept ApplyCut(const float* logits, size_t n, const float* /*block_max*/, float cut_logit, int32_t cut_id,
              uint64_t* mask, uint64_t* weights) {
  Kept kept{0, 0};
  for (size_t i = 0; i < n; ++i) {
    const bool keeps = logits[i] > cut_logit || (logits[i] == cut_logit && static_cast<int64_t>(i) <= cut_id);
    if (!keeps) {
      mask[i / 64] &= ~(uint64_t{1} << (i % 64));
      if (weights != nullptr) weights[i] = 0;
    }
    kept.count += InMask(mask, i);
    if (weights != nullptr) kept.total_weight += weights[i];
  }
  // The vector targets rewrite whole words.
  if (n % 64 != 0) mask[n / 64] &= (uint64_t{1} << (n % 64)) - 1;
  return kept;
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
    "SCALAR",   ScanRow, SumWeights, SumEntropyTerms, CountGreater, CountAtLeast,
    SumAtLeast, Collect, ApplyCut,   WidenF16,        WidenBf16,
};

}  // namespace logitd::kernels
