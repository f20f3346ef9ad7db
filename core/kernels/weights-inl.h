// Pass 2: the integer weights and the entropy's terms, compiled once per target of Highway (vector_kernels.cc). The
// same operations in the same order as scalar_kernels.cc; every MulAdd is one fused operation on the targets compiled.
#if defined(LOGITD_CORE_KERNELS_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGITD_CORE_KERNELS_WEIGHTS_INL_H_
#undef LOGITD_CORE_KERNELS_WEIGHTS_INL_H_
#else
#define LOGITD_CORE_KERNELS_WEIGHTS_INL_H_
#endif

#include "core/kernels/exponential.h"
#include "core/kernels/vector-inl.h"

#if LOGITD_HAVE_VECTORS
HWY_BEFORE_NAMESPACE();
namespace logitd::kernels::HWY_NAMESPACE {

// One row's constants in all lanes.
struct ExpVectors {
  HWY_INLINE ExpVectors(float row_max, const ExpConstants& constants)
      : max(hn::Set(FloatTag(), row_max)),
        lowest(hn::Set(FloatTag(), constants.lowest_difference)),
        scale_high(hn::Set(FloatTag(), constants.scale_high)),
        scale_low(hn::Set(FloatTag(), constants.scale_low)),
        inverse(hn::Set(FloatTag(), constants.inverse_temperature)) {}

  Floats max, lowest, scale_high, scale_low, inverse;
};

HWY_INLINE Floats Differences(Floats logits, const ExpVectors& v) { return hn::Max(hn::Sub(logits, v.max), v.lowest); }

// exp(difference / temperature).
HWY_INLINE Floats Exponentials(Floats difference, const ExpVectors& v) {
  const FloatTag d;
  const BitsTag bits;
  const Floats round = hn::Set(d, kRoundToInteger);
  const Floats shifted = hn::MulAdd(difference, v.scale_high, round);
  const Floats n = hn::Sub(shifted, round);
  Floats f = hn::MulSub(difference, v.scale_high, n);
  f = hn::MulAdd(difference, v.scale_low, f);
  Floats p = hn::Set(d, kExp2Coefficients[0]);
  for (size_t i = 1; i < kExp2CoefficientCount; ++i) p = hn::MulAdd(p, f, hn::Set(d, kExp2Coefficients[i]));
  return hn::BitCast(d, hn::Add(hn::BitCast(bits, p), hn::ShiftLeft<23>(hn::BitCast(bits, shifted))));
}

HWY_INLINE Floats EntropyTerms(Floats difference, const ExpVectors& v) {
  return hn::Mul(Exponentials(difference, v), hn::Mul(hn::Neg(difference), v.inverse));
}

// The sum of floats as fixed-point integers. Holds the sum of the raw bits; the offset of each is taken off at the end,
// modulo 2^64.
struct FixedPointSum {
  // Not member initialisers: the constructor that they make would not be compiled for the target.
  HWY_INLINE FixedPointSum() : lower(hn::Zero(WeightTag())), upper(hn::Zero(WeightTag())) {}

  // Adds a vector; with kStore also writes its integers, [kFloatLanes], to `weights`.
  template <bool kStore>
  HWY_INLINE void Add(Floats values, uint64_t* weights) {
    const HalfFloatTag half;
    AddHalf<kStore>(hn::LowerHalf(half, values), lower, weights);
    AddHalf<kStore>(hn::UpperHalf(half, values), upper, weights + kWeightLanes);
  }

  template <bool kStore>
  HWY_INLINE void AddHalf(hn::Vec<HalfFloatTag> values, Weights& sum, uint64_t* weights) {
    const DoubleTag d;
    const WeightTag w;
    const Weights bits = hn::BitCast(w, hn::Add(hn::PromoteTo(d, values), hn::Set(d, kRoundToWeight)));
    sum = hn::Add(sum, bits);
    if (kStore) hn::StoreU(hn::Sub(bits, hn::Set(w, kRoundToWeightBits)), w, weights);
  }

  // REQUIRES: `value_count` values were added.
  HWY_INLINE uint64_t Total(uint64_t value_count) const {
    return SumOfLanes(hn::Add(lower, upper)) - value_count * kRoundToWeightBits;
  }

  Weights lower, upper;
};

template <bool kMasked, bool kStore>
HWY_INLINE void AddWeights(const float* word_logits, uint64_t word, const ExpVectors& v, FixedPointSum& sum,
                           uint64_t* weights) {
  for (size_t i = 0; i < kWord; i += kFloatLanes) {
    const Floats logits = LoadLogits<kMasked>(word_logits, i, word);
    sum.Add<kStore>(Exponentials(Differences(logits, v), v), kStore ? weights + i : nullptr);
  }
}

template <bool kStore>
HWY_INLINE uint64_t SumWeightsOf(const float* logits, size_t n, const uint64_t* mask, const ExpVectors& v,
                                 uint64_t* weights) {
  FixedPointSum sum;
  uint64_t added = 0;
  float buffer[kWord];
  uint64_t last_weights[kWord];
  for (size_t start = 0; start < n; start += kWord) {
    const uint64_t word = WordOf(mask, start);
    const size_t count = HWY_MIN(kWord, n - start);
    if (word == 0) {
      if (kStore) memset(weights + start, 0, count * sizeof(uint64_t));
      continue;
    }
    const float* word_logits = Complete(logits, n, start, kWord, buffer);
    uint64_t* out = !kStore ? nullptr : count == kWord ? weights + start : last_weights;
    if (word == kAllBits) {
      AddWeights<false, kStore>(word_logits, word, v, sum, out);
    } else {
      AddWeights<true, kStore>(word_logits, word, v, sum, out);
    }
    if (kStore && count < kWord) memcpy(weights + start, last_weights, count * sizeof(uint64_t));
    added += kWord;
  }
  return sum.Total(added);
}

inline uint64_t SumWeights(const float* logits, size_t n, const uint64_t* mask, float max,
                           const ExpConstants& constants, uint64_t* weights) {
  const ExpVectors v(max, constants);
  return weights == nullptr ? SumWeightsOf<false>(logits, n, mask, v, nullptr)
                            : SumWeightsOf<true>(logits, n, mask, v, weights);
}

template <bool kMasked>
HWY_INLINE void AddEntropyTerms(const float* word_logits, uint64_t word, const ExpVectors& v, FixedPointSum& sum) {
  for (size_t i = 0; i < kWord; i += kFloatLanes) {
    sum.Add<false>(EntropyTerms(Differences(LoadLogits<kMasked>(word_logits, i, word), v), v), nullptr);
  }
}

inline uint64_t SumEntropyTerms(const float* logits, size_t n, const uint64_t* mask, float max,
                                const ExpConstants& constants) {
  const ExpVectors v(max, constants);
  FixedPointSum sum;
  uint64_t added = 0;
  float buffer[kWord];
  for (size_t start = 0; start < n; start += kWord) {
    const uint64_t word = WordOf(mask, start);
    if (word == 0) continue;
    const float* word_logits = Complete(logits, n, start, kWord, buffer);
    if (word == kAllBits) {
      AddEntropyTerms<false>(word_logits, word, v, sum);
    } else {
      AddEntropyTerms<true>(word_logits, word, v, sum);
    }
    added += kWord;
  }
  return sum.Total(added);
}

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#endif  // LOGITD_CORE_KERNELS_WEIGHTS_INL_H_
