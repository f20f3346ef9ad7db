// Shared parts of the vector kernels: the types of lanes, bits <-> masks, and the logits of one word of the mask.
// Compiled once per target of Highway (vector_kernels.cc). A row is read in words of 64 logits; the last one is
// completed with -inf, which no maximum, sum or comparison feels.
#if defined(LOGITD_CORE_KERNELS_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGITD_CORE_KERNELS_VECTOR_INL_H_
#undef LOGITD_CORE_KERNELS_VECTOR_INL_H_
#else
#define LOGITD_CORE_KERNELS_VECTOR_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/kernels/row_kernels.h"
#include "hwy/highway.h"

// Highway's fallbacks are not used: their MulAdd is not fused. kScalarKernels takes their place.
#undef LOGITD_HAVE_VECTORS
#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
#define LOGITD_HAVE_VECTORS 1
#else
#define LOGITD_HAVE_VECTORS 0
#endif

#if LOGITD_HAVE_VECTORS
HWY_BEFORE_NAMESPACE();
namespace logitd::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using IntTag = hn::RebindToSigned<FloatTag>;
using BitsTag = hn::RebindToUnsigned<FloatTag>;
// Two vectors of these hold what one of FloatTag holds.
using HalfFloatTag = hn::Half<FloatTag>;
using DoubleTag = hn::ScalableTag<double>;
using WeightTag = hn::ScalableTag<uint64_t>;

using Floats = hn::Vec<FloatTag>;
using Mask = hn::Mask<FloatTag>;
using Weights = hn::Vec<WeightTag>;

constexpr size_t kWord = 64;
constexpr uint64_t kAllBits = ~uint64_t{0};
constexpr size_t kFloatLanes = HWY_LANES(float);
constexpr size_t kWeightLanes = HWY_LANES(uint64_t);
static_assert(2 * kWeightLanes == kFloatLanes && kWord % kFloatLanes == 0);

HWY_INLINE float MinusInfinity() { return -__builtin_inff(); }

// The mask whose lane i is bit i.
template <class Tag>
HWY_INLINE hn::Mask<Tag> MaskOfBits(Tag tag, uint64_t bits) {
  uint8_t bytes[8];
  memcpy(bytes, &bits, sizeof(bits));
  return hn::LoadMaskBits(tag, bytes);
}

// Bit i is lane i; the bits above are 0.
template <class Tag>
HWY_INLINE uint64_t BitsOfMask(Tag tag, hn::Mask<Tag> mask) {
  uint8_t bytes[8] = {};
  hn::StoreMaskBits(tag, mask, bytes);
  uint64_t bits;
  memcpy(&bits, bytes, sizeof(bits));
  return bits;
}

// Modulo 2^64. Not hn::SumOfLanes: GCC's intrinsic for it adds signed integers, which must not overflow.
HWY_INLINE uint64_t SumOfLanes(Weights weights) {
  uint64_t lanes[kWeightLanes];
  hn::StoreU(weights, WeightTag(), lanes);
  uint64_t sum = 0;
  for (uint64_t lane : lanes) sum += lane;
  return sum;
}

// The `size` logits from `start` < n on, a multiple of kFloatLanes; those beyond `n` are -inf. `buffer` [size] is used
// where the row ends in between.
HWY_INLINE const float* Complete(const float* logits, size_t n, size_t start, size_t size, float* buffer) {
  if (start + size <= n) return logits + start;
  const FloatTag d;
  for (size_t i = 0; i < size; i += kFloatLanes) hn::StoreU(hn::Set(d, MinusInfinity()), d, buffer + i);
  memcpy(buffer, logits + start, (n - start) * sizeof(float));
  return buffer;
}

HWY_INLINE uint64_t WordOf(const uint64_t* mask, size_t start) {
  return mask == nullptr ? kAllBits : mask[start / kWord];
}

// Logits i, i + 1, ... of a word, -inf where the word's mask has no token.
template <bool kMasked>
HWY_INLINE Floats LoadLogits(const float* word_logits, size_t i, uint64_t word) {
  const FloatTag d;
  const Floats logits = hn::LoadU(d, word_logits + i);
  if (!kMasked) return logits;
  return hn::IfThenElse(MaskOfBits(d, word >> i), logits, hn::Set(d, MinusInfinity()));
}

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#endif  // LOGITD_CORE_KERNELS_VECTOR_INL_H_
