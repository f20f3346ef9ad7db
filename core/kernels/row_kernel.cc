#include "core/kernels/row_kernel.h"

#include <bit>
#include <cmath>
#include <limits>

// The loops are compiled twice and the processor's version is picked when the program starts: with FMA instructions
// std::fma is one of them and the compiler uses whole vectors, without them it is a call into the C library, 25 times
// slower. Both give the correctly rounded result, so the bits are the same (tests/core/kernels/row_kernel_test.cc).
// x86-64-v3 is chosen by features; "arch=haswell" would be by model, and so never on AMD. Sanitizers cannot run the
// resolver that picks.
#if defined(__x86_64__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LOGITD_CLONES __attribute__((target_clones("default", "arch=x86-64-v3")))
#else
#define LOGITD_CLONES
#endif
// Parts of a loop must be compiled with it.
#define LOGITD_INLINE inline __attribute__((always_inline))

namespace logitd::kernels {
namespace {

constexpr double kLog2E = 0x1.71547652b82fep+0;
// 1.5 * 2^23: adding it to a float rounds that to an integer, ties to even, in the low bits.
constexpr float kRoundToInteger = 0x1.8p23f;
// 1.5 * 2^(52 - 42): adding it to a double rounds that to a multiple of 2^-42, ties to even, in the low bits.
constexpr double kRoundToWeight = 1536.0;
constexpr uint64_t kRoundToWeightBits = 0x4098000000000000;
static_assert(std::bit_cast<uint64_t>(kRoundToWeight) == kRoundToWeightBits);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kWordBits = 64;
// Values whose maximum is taken before the first place of a new maximum is looked for.
constexpr size_t kScanBlock = 256;

// An integer that is ordered as the float is; both zeros give 0.
LOGITD_INLINE int32_t OrderedKey(float value) {
  const int32_t bits = std::bit_cast<int32_t>(value + 0.0f);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}
constexpr int32_t kInfinityKey = 0x7F800000;
constexpr int32_t kMinusInfinityKey = static_cast<int32_t>(0xFF800000 ^ 0x7FFFFFFF);

LOGITD_INLINE float FloatOfKey(int32_t key) { return std::bit_cast<float>(key ^ ((key >> 31) & 0x7FFFFFFF)); }

// NaNs of both signs are outside [-inf, +inf) in the order of keys, and so is +inf.
LOGITD_INLINE bool LegalKeys(int32_t lowest, int32_t highest) {
  return lowest >= kMinusInfinityKey && highest < kInfinityKey;
}

LOGITD_INLINE float Difference(float logit, float max, const ExpConstants& constants) {
  const float difference = logit - max;
  return difference > constants.lowest_difference ? difference : constants.lowest_difference;
}

// exp(difference / temperature), docs/numerics.md, section 1.
LOGITD_INLINE float Exponential(float difference, const ExpConstants& constants) {
  const float shifted = std::fma(difference, constants.scale_high, kRoundToInteger);
  const float n = shifted - kRoundToInteger;
  float f = std::fma(difference, constants.scale_high, -n);
  f = std::fma(difference, constants.scale_low, f);
  float p = 0x1.41fbbap-13f;
  p = std::fma(p, f, 0x1.5f3e54p-10f);
  p = std::fma(p, f, 0x1.3b2d4cp-7f);
  p = std::fma(p, f, 0x1.c6aee8p-5f);
  p = std::fma(p, f, 0x1.ebfbdcp-3f);
  p = std::fma(p, f, 0x1.62e430p-1f);
  p = std::fma(p, f, 1.0f);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23));
}

LOGITD_INLINE uint64_t ToWeight(float value) {
  return std::bit_cast<uint64_t>(static_cast<double>(value) + kRoundToWeight) - kRoundToWeightBits;
}

LOGITD_INLINE uint64_t WeightOf(float logit, float max, const ExpConstants& constants) {
  return ToWeight(Exponential(Difference(logit, max, constants), constants));
}

LOGITD_INLINE uint64_t EntropyTerm(float logit, float max, const ExpConstants& constants) {
  const float difference = Difference(logit, max, constants);
  return ToWeight(Exponential(difference, constants) * (-difference * constants.inverse_temperature));
}

// The `count` <= 64 logits of one word of the mask, -inf where the mask has no token.
LOGITD_INLINE const float* Masked(const float* logits, size_t count, uint64_t word, float* buffer) {
  if (word == ~uint64_t{0}) return logits;
  for (size_t i = 0; i < count; ++i) buffer[i] = (word >> i) & 1 ? logits[i] : -kInfinity;
  return buffer;
}

LOGITD_INLINE size_t BlockSize(size_t start, size_t n, size_t block) { return n - start < block ? n - start : block; }

struct KeyRange {
  int32_t lowest = std::numeric_limits<int32_t>::max();
  int32_t highest = std::numeric_limits<int32_t>::min();
  int32_t finite_count = 0;
};

LOGITD_INLINE KeyRange ScanBlock(const float* logits, size_t n) {
  KeyRange range;
  for (size_t i = 0; i < n; ++i) {
    const int32_t key = OrderedKey(logits[i]);
    range.lowest = key < range.lowest ? key : range.lowest;
    range.highest = key > range.highest ? key : range.highest;
    range.finite_count += key > kMinusInfinityKey;
  }
  return range;
}

LOGITD_INLINE uint64_t SumBlock(const float* logits, size_t n, float max, const ExpConstants& constants) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) total += WeightOf(logits[i], max, constants);
  return total;
}

LOGITD_INLINE uint64_t StoreBlock(const float* logits, size_t n, float max, const ExpConstants& constants,
                                  uint64_t* __restrict weights) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) {
    weights[i] = WeightOf(logits[i], max, constants);
    total += weights[i];
  }
  return total;
}

LOGITD_INLINE uint64_t EntropyBlock(const float* logits, size_t n, float max, const ExpConstants& constants) {
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) total += EntropyTerm(logits[i], max, constants);
  return total;
}

}  // namespace

ExpConstants::ExpConstants(double temperature) {
  const double scale = kLog2E / temperature;
  scale_high = static_cast<float>(scale);
  scale_low = static_cast<float>(scale - static_cast<double>(scale_high));
  lowest_difference = static_cast<float>(-126.0 / scale);
  inverse_temperature = static_cast<float>(1.0 / temperature);
}

LOGITD_CLONES
RowScan ScanRow(const float* logits, size_t n, const uint64_t* mask) {
  RowScan scan{-kInfinity, -1, -1, 0};
  int32_t best = kMinusInfinityKey;
  size_t best_start = n;
  float buffer[kWordBits];
  // A block is a word of the mask where there is one.
  const size_t block = mask == nullptr ? kScanBlock : kWordBits;
  for (size_t start = 0; start < n; start += block) {
    const size_t count = BlockSize(start, n, block);
    KeyRange range = ScanBlock(logits + start, count);
    if (!LegalKeys(range.lowest, range.highest)) {
      size_t i = start;
      while (logits[i] < kInfinity) ++i;
      scan.first_non_finite = static_cast<int32_t>(i);
      return scan;
    }
    if (mask != nullptr) {
      const uint64_t word = mask[start / kWordBits];
      if (word == 0) continue;
      range = ScanBlock(Masked(logits + start, count, word, buffer), count);
    }
    scan.finite_count += range.finite_count;
    if (range.highest > best) {
      best = range.highest;
      best_start = start;
    }
  }
  if (best_start == n) return scan;
  scan.max = FloatOfKey(best);
  for (size_t i = best_start;; ++i) {
    if (logits[i] == scan.max && (mask == nullptr || ((mask[i / kWordBits] >> (i % kWordBits)) & 1))) {
      scan.argmax = static_cast<int32_t>(i);
      return scan;
    }
  }
}

uint64_t Weight(float logit, float max, const ExpConstants& constants) { return WeightOf(logit, max, constants); }

LOGITD_CLONES
uint64_t SumWeights(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants,
                    uint64_t* weights) {
  if (mask == nullptr) {
    return weights == nullptr ? SumBlock(logits, n, max, constants) : StoreBlock(logits, n, max, constants, weights);
  }
  uint64_t total = 0;
  float buffer[kWordBits];
  for (size_t start = 0; start < n; start += kWordBits) {
    const size_t count = BlockSize(start, n, kWordBits);
    const uint64_t word = mask[start / kWordBits];
    if (word == 0) {
      if (weights != nullptr) {
        for (size_t i = 0; i < count; ++i) weights[start + i] = 0;
      }
      continue;
    }
    const float* block = Masked(logits + start, count, word, buffer);
    total += weights == nullptr ? SumBlock(block, count, max, constants)
                                : StoreBlock(block, count, max, constants, weights + start);
  }
  return total;
}

LOGITD_CLONES
uint64_t SumEntropyTerms(const float* logits, size_t n, const uint64_t* mask, float max,
                         const ExpConstants& constants) {
  if (mask == nullptr) return EntropyBlock(logits, n, max, constants);
  uint64_t total = 0;
  float buffer[kWordBits];
  for (size_t start = 0; start < n; start += kWordBits) {
    const uint64_t word = mask[start / kWordBits];
    if (word == 0) continue;
    const size_t count = BlockSize(start, n, kWordBits);
    total += EntropyBlock(Masked(logits + start, count, word, buffer), count, max, constants);
  }
  return total;
}

LOGITD_CLONES
Kept ApplyCut(const float* logits, size_t n, float cut_logit, int32_t cut_id, uint64_t* mask, uint64_t* weights) {
  Kept kept{0, 0};
  for (size_t start = 0; start < n; start += kWordBits) {
    uint64_t& word = mask[start / kWordBits];
    if (word == 0) continue;
    const size_t count = BlockSize(start, n, kWordBits);
    uint64_t bits = 0;
    for (size_t i = 0; i < count; ++i) {
      const float logit = logits[start + i];
      const bool keeps = logit > cut_logit || (logit == cut_logit && static_cast<int64_t>(start + i) <= cut_id);
      bits |= static_cast<uint64_t>(keeps) << i;
    }
    word &= bits;
    kept.count += std::popcount(word);
    for (size_t i = 0; i < count; ++i) {
      uint64_t& weight = weights[start + i];
      weight = (word >> i) & 1 ? weight : 0;
      kept.total_weight += weight;
    }
  }
  return kept;
}

LOGITD_CLONES
int32_t CountGreater(const float* logits, size_t n, float value) {
  int32_t count = 0;
  for (size_t i = 0; i < n; ++i) count += logits[i] > value;
  return count;
}

}  // namespace logitd::kernels
