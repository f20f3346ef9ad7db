// Pass 1 and the counting passes, compiled once per target of Highway (vector_kernels.cc).
#if defined(LOGITD_CORE_KERNELS_SCAN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGITD_CORE_KERNELS_SCAN_INL_H_
#undef LOGITD_CORE_KERNELS_SCAN_INL_H_
#else
#define LOGITD_CORE_KERNELS_SCAN_INL_H_
#endif

#include "core/kernels/vector-inl.h"

#if LOGITD_HAVE_VECTORS
HWY_BEFORE_NAMESPACE();
namespace logitd::kernels::HWY_NAMESPACE {

struct BlockScan {
  float max;  // never -0
  int32_t finite_count;
  bool legal;
};

// One block of kBlockSize logits and its kBlockSize / 64 words of the mask.
template <bool kMasked>
HWY_INLINE BlockScan ScanBlock(const float* logits, const uint64_t* words) {
  const FloatTag d;
  const Floats infinity = hn::Set(d, __builtin_inff());
  const Floats minus_infinity = hn::Set(d, MinusInfinity());
  Floats max = minus_infinity;
  Floats min = infinity;
  Mask legal = hn::Eq(infinity, infinity);
  for (size_t i = 0; i < kBlockSize; i += kFloatLanes) {
    // False for NaN too. A logit that the mask leaves out must be legal as well.
    legal = hn::And(legal, hn::Lt(hn::LoadU(d, logits + i), infinity));
    const Floats value = LoadLogits<kMasked>(logits + i / kWord * kWord, i % kWord, kMasked ? words[i / kWord] : 0);
    max = hn::Max(max, value);
    min = hn::Min(min, value);
  }
  BlockScan scan{0, kBlockSize, hn::AllTrue(d, legal)};
  if (!hn::AllTrue(d, hn::Gt(min, minus_infinity))) {
    scan.finite_count = 0;
    for (size_t i = 0; i < kBlockSize; i += kFloatLanes) {
      const Floats value = LoadLogits<kMasked>(logits + i / kWord * kWord, i % kWord, kMasked ? words[i / kWord] : 0);
      scan.finite_count += static_cast<int32_t>(hn::CountTrue(d, hn::Gt(value, minus_infinity)));
    }
  }
  scan.max = hn::GetLane(hn::MaxOfLanes(d, max)) + 0.0f;
  return scan;
}

inline RowScan ScanRow(const float* logits, size_t n, const uint64_t* mask, float* block_max) {
  constexpr size_t kWords = kBlockSize / kWord;
  RowScan scan{MinusInfinity(), -1, -1, 0};
  size_t best_start = n;
  float buffer[kBlockSize];
  for (size_t start = 0; start < n; start += kBlockSize) {
    const float* block = Complete(logits, n, start, kBlockSize, buffer);
    BlockScan found;
    if (mask == nullptr) {
      found = ScanBlock<false>(block, nullptr);
    } else {
      uint64_t words[kWords] = {};
      for (size_t i = 0; i < kWords && start + i * kWord < n; ++i) words[i] = mask[start / kWord + i];
      found = ScanBlock<true>(block, words);
    }
    if (!found.legal) {
      size_t i = start;
      while (logits[i] < __builtin_inff()) ++i;
      scan.first_non_finite = static_cast<int32_t>(i);
      return scan;
    }
    if (block_max != nullptr) block_max[start / kBlockSize] = found.max;
    scan.finite_count += found.finite_count;
    if (found.max > scan.max) {
      scan.max = found.max;
      best_start = start;
    }
  }
  if (best_start == n) return scan;
  const FloatTag d;
  const float* block = Complete(logits, n, best_start, kBlockSize, buffer);
  for (size_t i = 0;; i += kFloatLanes) {
    const Floats values = LoadLogits<true>(block + i / kWord * kWord, i % kWord, WordOf(mask, best_start + i));
    const uint64_t bits = BitsOfMask(d, hn::Eq(values, hn::Set(d, scan.max)));
    if (bits == 0) continue;
    scan.argmax = static_cast<int32_t>(best_start + i + hwy::Num0BitsBelowLS1Bit_Nonzero64(bits));
    return scan;
  }
}

inline int32_t CountGreater(const float* logits, size_t n, const uint64_t* mask, float value) {
  const FloatTag d;
  const Floats bound = hn::Set(d, value);
  float buffer[kWord];
  size_t count = 0;
  for (size_t start = 0; start < n; start += kWord) {
    const uint64_t word = WordOf(mask, start);
    if (word == 0) continue;
    const float* word_logits = Complete(logits, n, start, kWord, buffer);
    if (word == kAllBits) {
      for (size_t i = 0; i < kWord; i += kFloatLanes) {
        count += hn::CountTrue(d, hn::Gt(LoadLogits<false>(word_logits, i, word), bound));
      }
    } else {
      for (size_t i = 0; i < kWord; i += kFloatLanes) {
        count += hn::CountTrue(d, hn::Gt(LoadLogits<true>(word_logits, i, word), bound));
      }
    }
  }
  return static_cast<int32_t>(count);
}

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#endif  // LOGITD_CORE_KERNELS_SCAN_INL_H_
