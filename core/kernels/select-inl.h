// The searches of the truncation stages in a row, compiled once per target of Highway (vector_kernels.cc).
#if defined(LOGITD_CORE_KERNELS_SELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGITD_CORE_KERNELS_SELECT_INL_H_
#undef LOGITD_CORE_KERNELS_SELECT_INL_H_
#else
#define LOGITD_CORE_KERNELS_SELECT_INL_H_
#endif

#include "core/kernels/vector-inl.h"

#if LOGITD_HAVE_VECTORS
HWY_BEFORE_NAMESPACE();
namespace logitd::kernels::HWY_NAMESPACE {

// -1 in the lanes of `mask`, as 64-bit integers of its lower or upper half.
HWY_INLINE Weights WidenLower(hn::Vec<IntTag> lanes) {
  const hn::Half<IntTag> half;
  return hn::BitCast(WeightTag(), hn::PromoteTo(hn::RebindToSigned<WeightTag>(), hn::LowerHalf(half, lanes)));
}
HWY_INLINE Weights WidenUpper(hn::Vec<IntTag> lanes) {
  const hn::Half<IntTag> half;
  return hn::BitCast(WeightTag(), hn::PromoteTo(hn::RebindToSigned<WeightTag>(), hn::UpperHalf(half, lanes)));
}

inline void SumAtLeast(const float* logits, size_t n, const uint64_t* weights, const float* bounds, uint64_t* sums) {
  const FloatTag d;
  const WeightTag w;
  Weights found[kBoundCount];
  Floats bound[kBoundCount];
  for (size_t j = 0; j < kBoundCount; ++j) {
    found[j] = hn::Zero(w);
    bound[j] = hn::Set(d, bounds[j]);
  }
  size_t i = 0;
  for (; i + kFloatLanes <= n; i += kFloatLanes) {
    const Floats values = hn::LoadU(d, logits + i);
    const Weights lower = hn::LoadU(w, weights + i);
    const Weights upper = hn::LoadU(w, weights + i + kWeightLanes);
    for (size_t j = 0; j < kBoundCount; ++j) {
      const auto lanes = hn::BitCast(IntTag(), hn::VecFromMask(d, hn::Ge(values, bound[j])));
      found[j] = hn::Add(found[j], hn::Add(hn::And(lower, WidenLower(lanes)), hn::And(upper, WidenUpper(lanes))));
    }
  }
  for (size_t j = 0; j < kBoundCount; ++j) {
    sums[j] = SumOfLanes(found[j]);
    for (size_t rest = i; rest < n; ++rest) sums[j] += logits[rest] >= bounds[j] ? weights[rest] : 0;
  }
}

// places[bits]: the places of the bits that are set, ascending, then zeros.
struct SetBits {
  uint8_t places[256][8];
};
constexpr SetBits MakeSetBits() {
  SetBits table{};
  for (size_t bits = 0; bits < 256; ++bits) {
    size_t count = 0;
    for (uint8_t place = 0; place < 8; ++place) {
      if ((bits >> place) & 1) table.places[bits][count++] = place;
    }
  }
  return table;
}
constexpr SetBits kSetBits = MakeSetBits();

constexpr uint64_t kVectorBits = kAllBits >> (kWord - kFloatLanes);

// The ids first_id + i of the bits i that are set, in order, then anything.
HWY_INLINE hn::Vec<IntTag> IdsOf(uint64_t bits, int32_t first_id) {
  const IntTag ids;
  if constexpr (kFloatLanes <= 8) {
    // Not Compress: Highway 1.0.3's copies its table to the stack at each call (GCC 12), 20 times the time of the rest.
    const hn::Rebind<uint8_t, IntTag> bytes;
    return hn::Add(hn::PromoteTo(ids, hn::LoadU(bytes, kSetBits.places[bits])), hn::Set(ids, first_id));
  } else {
    return hn::Compress(hn::Iota(ids, first_id), MaskOfBits(ids, bits));
  }
}

inline size_t Collect(const float* logits, size_t begin, size_t end, const uint64_t* mask, float lowest, float highest,
                      int32_t* ids) {
  const FloatTag d;
  const IntTag id_tag;
  const Floats low = hn::Set(d, lowest);
  const Floats high = hn::Set(d, highest);
  float buffer[kWord];
  size_t count = 0;
  for (size_t start = begin; start < end; start += kWord) {
    const uint64_t word = WordOf(mask, start);
    if (word == 0) continue;
    const float* word_logits = Complete(logits, end, start, kWord, buffer);
    uint64_t found = 0;
    HWY_UNROLL(8)
    for (size_t i = 0; i < kWord; i += kFloatLanes) {
      const Floats values = hn::LoadU(d, word_logits + i);
      found |= BitsOfMask(d, hn::And(hn::Ge(values, low), hn::Le(values, high))) << i;
    }
    found &= word;
    // One branch a word: whether a vector has some cannot be predicted.
    if (found == 0) continue;
    HWY_UNROLL(8)
    for (size_t i = 0; i < kWord; i += kFloatLanes) {
      const uint64_t bits = (found >> i) & kVectorBits;
      // Stores a whole vector; the next one overwrites the lanes beyond. The room is there.
      hn::StoreU(IdsOf(bits, static_cast<int32_t>(start + i)), id_tag, ids + count);
      count += hwy::PopCount(bits);
    }
  }
  return count;
}

inline int32_t KeepBetween(const float* logits, size_t n, const float* block_max, float low, float high,
                           uint64_t* mask) {
  const FloatTag d;
  const Floats lower = hn::Set(d, low);
  const Floats upper = hn::Set(d, high);
  size_t count = 0;
  float buffer[kWord];
  for (size_t start = 0; start < n; start += kWord) {
    uint64_t& word = mask[start / kWord];
    if (word == 0) continue;
    uint64_t inside = 0;
    if (block_max[start / kBlockSize] >= low) {
      const float* word_logits = Complete(logits, n, start, kWord, buffer);
      for (size_t i = 0; i < kWord; i += kFloatLanes) {
        const Floats values = hn::LoadU(d, word_logits + i);
        inside |= BitsOfMask(d, hn::And(hn::Ge(values, lower), hn::Le(values, upper))) << i;
      }
    }
    word &= inside;
    count += hwy::PopCount(word);
  }
  return static_cast<int32_t>(count);
}

inline void Gather(const float* logits, const int32_t* ids, size_t count, float* out) {
  const FloatTag d;
  const IntTag i32;
  size_t i = 0;
  for (; i + kFloatLanes <= count; i += kFloatLanes) {
    hn::StoreU(hn::GatherIndex(d, logits, hn::LoadU(i32, ids + i)), d, out + i);
  }
  for (; i < count; ++i) out[i] = logits[ids[i]];
}

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#endif  // LOGITD_CORE_KERNELS_SELECT_INL_H_
