// Pass 2: integer weights and the sums that are made like them (entropy, spread), compiled once per target of Highway
// (vector_kernels.cc). The operations and their order are those of scalar_kernels.cc; every MulAdd is one fused
// operation on the targets compiled. docs/numerics.md, section 1, states them; docs/adr/0001-integer-weights.md says
// why.
//
//   logits      x - max        exp by 2^n p(f)      rne(2^42 e)             integer sum
//    6.0          0     ------> 1.0          -----> 4398046511104 --+
//    3.0         -3     ------> 0.04978707   ----->  218965852160 --+--> lane sums -> block sums (1,024) -> total
//    0.5         -5.5   ------> 0.004086771  ----->   17973811200 --+        T = 1: 4652959985664
//    0.5         -5.5   ------> 0.004086771  ----->   17973811200 --+
//
// Integer sums do not depend on the order, so lanes, blocks and targets change no bit. A token outside of the mask is
// read as -inf: its difference is clamped, and its weight is 0.
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

// The sum of at most kSumBlockSize floats in [0, 1] as fixed-point integers, rne(2^42 e) each.
// - e = h + r, where h is the multiple of 2^-21 nearest to e (ties to even). Then rne(2^42 e) = 2^21 (2^21 h) +
//   rne(2^42 r). Everything except the last rounding is exact in f32.
// - Both integers are the low bits of a float. Their sums wrap in 32 bits, and so do the sums of the floats' other
//   bits, which are subtracted at the end.
// - This is faster by a sixth than a conversion to f64.
struct BlockSum {
  // Not member initialisers: the constructor that they make would not be compiled for the target.
  HWY_INLINE BlockSum() : high(hn::Zero(BitsTag())), low(hn::Zero(BitsTag())), vectors(0) {}

  HWY_INLINE void Add(Floats values) {
    const FloatTag d;
    const Floats round = hn::Set(d, kRoundToHigh);
    const Floats shifted = hn::Add(values, round);
    const Floats rest = hn::Sub(values, hn::Sub(shifted, round));
    const Floats integer = hn::MulAdd(rest, hn::Set(d, 0x1p42f), hn::Set(d, kRoundToInteger));
    high = hn::Add(high, hn::BitCast(BitsTag(), shifted));
    low = hn::Add(low, hn::BitCast(BitsTag(), integer));
    ++vectors;
  }

  HWY_INLINE uint64_t Total() const {
    uint32_t high_lanes[kFloatLanes], low_lanes[kFloatLanes];
    hn::StoreU(high, BitsTag(), high_lanes);
    hn::StoreU(low, BitsTag(), low_lanes);
    uint64_t high_sum = 0;
    uint64_t low_sum = 0;
    for (size_t i = 0; i < kFloatLanes; ++i) {
      high_sum += high_lanes[i] - vectors * kRoundToHighBits;
      // Of either sign.
      low_sum += static_cast<uint64_t>(
          static_cast<int64_t>(static_cast<int32_t>(low_lanes[i] - vectors * kRoundToIntegerBits)));
    }
    return (high_sum << kHighBits) + low_sum;
  }

  hn::Vec<BitsTag> high, low;
  uint32_t vectors;
};

// Adds the raw bits of value + 1536: its fixed-point integer plus an offset that is subtracted at the end.
HWY_INLINE Weights AddRounded(hn::Vec<DoubleTag> value, Weights& sum) {
  const DoubleTag d;
  const Weights bits = hn::BitCast(WeightTag(), hn::Add(value, hn::Set(d, kRoundToWeight)));
  sum = hn::Add(sum, bits);
  return bits;
}

// The integers of a vector's floats, [kFloatLanes], to `weights`.
HWY_INLINE void StoreWeights(Floats values, uint64_t* weights) {
  const DoubleTag d;
  const WeightTag w;
  const HalfFloatTag half;
  const auto offset = hn::Set(w, kRoundToWeightBits);
  const auto round = hn::Set(d, kRoundToWeight);
  const auto lower = hn::Add(hn::PromoteTo(d, hn::LowerHalf(half, values)), round);
  const auto upper = hn::Add(hn::PromoteTo(d, hn::UpperHalf(half, values)), round);
  hn::StoreU(hn::Sub(hn::BitCast(w, lower), offset), w, weights);
  hn::StoreU(hn::Sub(hn::BitCast(w, upper), offset), w, weights + kWeightLanes);
}

// Calls add(logits of one vector) for the tokens in [begin, end), -inf where the mask has none. REQUIRES: begin is a
// multiple of 64.
template <class AddVector>
HWY_INLINE void ForEachWord(const float* logits, size_t n, const uint64_t* mask, size_t begin, size_t end,
                            const AddVector& add) {
  float buffer[kWord];
  for (size_t start = begin; start < end; start += kWord) {
    const uint64_t word = WordOf(mask, start);
    if (word == 0) continue;
    const float* word_logits = Complete(logits, n, start, kWord, buffer);
    if (word == kAllBits) {
      // Unrolled: vectors of one word are independent.
#pragma GCC unroll 8
      for (size_t i = 0; i < kWord; i += kFloatLanes) add(LoadLogits<false>(word_logits, i, word));
    } else {
      for (size_t i = 0; i < kWord; i += kFloatLanes) add(LoadLogits<true>(word_logits, i, word));
    }
  }
}

inline uint64_t SumWeights(const float* logits, size_t n, const uint64_t* mask, float max,
                           const ExpConstants& constants, uint64_t* block_sums) {
  const ExpVectors v(max, constants);
  uint64_t total = 0;
  for (size_t start = 0; start < n; start += kSumBlockSize) {
    BlockSum sum;
    ForEachWord(logits, n, mask, start, HWY_MIN(n, start + kSumBlockSize),
                [&](Floats x) HWY_ATTR { sum.Add(Exponentials(Differences(x, v), v)); });
    const uint64_t block_sum = sum.Total();
    if (block_sums != nullptr) block_sums[start / kSumBlockSize] = block_sum;
    total += block_sum;
  }
  return total;
}

inline uint64_t SumWeightsAhead(const float* logits, size_t n, float max, const ExpConstants& constants,
                                const float* next) {
  const ExpVectors v(max, constants);
  constexpr size_t kLine = 64 / sizeof(float);
  uint64_t total = 0;
  for (size_t start = 0; start < n; start += kSumBlockSize) {
    BlockSum sum;
    const size_t end = HWY_MIN(n, start + kSumBlockSize);
    for (size_t word = start; word < end; word += kWord) {
      // Into every cache: into the second alone (prefetcht1) it takes a quarter longer on Zen 4.
      for (size_t i = word; i < HWY_MIN(word + kWord, n); i += kLine) __builtin_prefetch(next + i);
      ForEachWord(logits, n, nullptr, word, word + kWord,
                  [&](Floats x) HWY_ATTR { sum.Add(Exponentials(Differences(x, v), v)); });
    }
    total += sum.Total();
  }
  return total;
}

inline Mass SumBetween(const float* logits, size_t n, const uint64_t* mask, const float* block_max, float low,
                       float high, float max, const ExpConstants& constants, uint64_t* block_sums) {
  const FloatTag d;
  const ExpVectors v(max, constants);
  const Floats lower = hn::Set(d, low);
  const Floats upper = hn::Set(d, high);
  const Floats minus_infinity = hn::Set(d, MinusInfinity());
  Mass mass{0, 0};
  for (size_t start = 0; start < n; start += kSumBlockSize) {
    BlockSum sum;
    const size_t end = HWY_MIN(n, start + kSumBlockSize);
    for (size_t block = start; block < end; block += kBlockSize) {
      if (!(block_max[block / kBlockSize] > low)) continue;
      ForEachWord(logits, n, mask, block, HWY_MIN(end, block + kBlockSize), [&](Floats x) HWY_ATTR {
        const Mask inside = hn::And(hn::Gt(x, lower), hn::Lt(x, upper));
        mass.count += static_cast<int32_t>(hn::CountTrue(d, inside));
        x = hn::IfThenElse(inside, x, minus_infinity);
        sum.Add(Exponentials(Differences(x, v), v));
      });
    }
    const uint64_t block_sum = sum.Total();
    if (block_sums != nullptr) block_sums[start / kSumBlockSize] = block_sum;
    mass.weight += block_sum;
  }
  return mass;
}

inline WeightBounds BoundBelow(const float* logits, size_t n, const uint64_t* mask, float high, float max,
                               const ExpConstants& constants) {
  const FloatTag d;
  const Floats maximum = hn::Set(d, max);
  const Floats upper = hn::Set(d, high);
  const Floats scale = hn::Set(d, constants.scale_high * kChordScale);
  const Floats offset = hn::Set(d, kChordOffset);
  const Floats lowest = hn::Set(d, kChordLowest);
  const auto chord = [&](Floats x) HWY_ATTR {
    const Floats bits = hn::Max(hn::MulAdd(hn::Sub(x, maximum), scale, offset), lowest);
    const auto shifted = hn::ShiftLeft<kChordShift>(hn::BitCast(BitsTag(), bits));
    return hn::IfThenElseZero(hn::Lt(x, upper), hn::BitCast(d, shifted));
  };
  double chords = 0;
  float buffer[kWord];
  for (size_t block = 0; block < n; block += kSumBlockSize) {
    // Sums that do not wait for one another.
    Floats sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
    for (size_t start = block; start < HWY_MIN(n, block + kSumBlockSize); start += kWord) {
      const uint64_t word = WordOf(mask, start);
      if (word == 0) continue;
      const float* word_logits = Complete(logits, n, start, kWord, buffer);
      if (word == kAllBits) {
        for (size_t i = 0; i < kWord; i += 4 * kFloatLanes) {
          sum0 = hn::Add(sum0, chord(hn::LoadU(d, word_logits + i)));
          sum1 = hn::Add(sum1, chord(hn::LoadU(d, word_logits + i + kFloatLanes)));
          sum2 = hn::Add(sum2, chord(hn::LoadU(d, word_logits + i + 2 * kFloatLanes)));
          sum3 = hn::Add(sum3, chord(hn::LoadU(d, word_logits + i + 3 * kFloatLanes)));
        }
      } else {
        for (size_t i = 0; i < kWord; i += kFloatLanes) {
          sum0 = hn::Add(sum0, chord(LoadLogits<true>(word_logits, i, word)));
        }
      }
    }
    float lanes[kFloatLanes];
    hn::StoreU(hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3)), d, lanes);
    for (float lane : lanes) chords += lane;
  }
  return BoundsOfChords(chords, n);
}

inline uint64_t Weigh(const float* logits, size_t n, float max, const ExpConstants& constants, uint64_t* weights) {
  const ExpVectors v(max, constants);
  float buffer[kFloatLanes];
  uint64_t last[kFloatLanes];
  uint64_t total = 0;
  for (size_t start = 0; start < n; start += kSumBlockSize) {
    BlockSum sum;
    for (size_t i = start; i < HWY_MIN(n, start + kSumBlockSize); i += kFloatLanes) {
      const size_t count = HWY_MIN(kFloatLanes, n - i);
      const Floats x = hn::LoadU(FloatTag(), Complete(logits, n, i, kFloatLanes, buffer));
      const Floats exponentials = Exponentials(Differences(x, v), v);
      sum.Add(exponentials);
      StoreWeights(exponentials, count == kFloatLanes ? weights + i : last);
      if (count < kFloatLanes) memcpy(weights + i, last, count * sizeof(uint64_t));
    }
    total += sum.Total();
  }
  return total;
}

inline EntropySums SumEntropy(const float* logits, size_t n, const uint64_t* mask, float max,
                              const ExpConstants& constants) {
  const ExpVectors v(max, constants);
  EntropySums sums{0, 0};
  for (size_t start = 0; start < n; start += kSumBlockSize) {
    BlockSum weights, terms;
    ForEachWord(logits, n, mask, start, HWY_MIN(n, start + kSumBlockSize), [&](Floats x) HWY_ATTR {
      const Floats difference = Differences(x, v);
      const Floats exponential = Exponentials(difference, v);
      weights.Add(exponential);
      // y exp(-y) is at most 0.37.
      terms.Add(hn::Mul(exponential, hn::Mul(hn::Neg(difference), v.inverse)));
    });
    sums.weights += weights.Total();
    sums.terms += terms.Total();
  }
  return sums;
}

inline float MinFinite(const float* logits, size_t n, const uint64_t* mask) {
  const FloatTag d;
  const Floats infinity = hn::Set(d, __builtin_inff());
  Floats min = infinity;
  ForEachWord(logits, n, mask, 0, n, [&](Floats x) HWY_ATTR {
    min = hn::Min(min, hn::IfThenElse(hn::Gt(x, hn::Set(d, MinusInfinity())), x, infinity));
  });
  return hn::GetLane(hn::MinOfLanes(d, min));
}

inline SpreadSums SumSpread(const float* logits, size_t n, const uint64_t* mask, float max, float scale) {
  const FloatTag d;
  const HalfFloatTag half;
  const DoubleTag wide;
  const Floats row_max = hn::Set(d, max);
  const Floats factor = hn::Set(d, scale);
  const Floats round = hn::Set(d, kRoundToInteger);
  const auto value_unit = hn::Set(wide, 0x1p-42);
  const auto square_unit = hn::Set(wide, 0x1p-21);
  Weights values = hn::Zero(WeightTag());
  Weights squares = hn::Zero(WeightTag());
  uint64_t added = 0;
  const auto add = [&](hn::Vec<HalfFloatTag> q) HWY_ATTR {
    const auto promoted = hn::PromoteTo(wide, q);
    const auto root = hn::Mul(promoted, square_unit);
    AddRounded(hn::Mul(promoted, value_unit), values);
    AddRounded(hn::Mul(root, root), squares);
  };
  ForEachWord(logits, n, mask, 0, n, [&](Floats x) HWY_ATTR {
    const Mask finite = hn::Gt(x, hn::Set(d, MinusInfinity()));
    // The difference may have overflowed.
    const Floats scaled = hn::Min(hn::Mul(hn::Sub(row_max, x), factor), hn::Set(d, kLargestSpread));
    const Floats q = hn::IfThenElseZero(finite, hn::Sub(hn::Add(scaled, round), round));
    add(hn::LowerHalf(half, q));
    add(hn::UpperHalf(half, q));
    added += kFloatLanes;
  });
  const uint64_t offset = added * kRoundToWeightBits;
  return {SumOfLanes(values) - offset, SumOfLanes(squares) - offset};
}

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#endif  // LOGITD_CORE_KERNELS_WEIGHTS_INL_H_
