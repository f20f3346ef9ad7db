// 16-bit values to f32, exactly, compiled once per target of Highway (vector_kernels.cc).
#if defined(LOGITD_CORE_KERNELS_WIDEN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGITD_CORE_KERNELS_WIDEN_INL_H_
#undef LOGITD_CORE_KERNELS_WIDEN_INL_H_
#else
#define LOGITD_CORE_KERNELS_WIDEN_INL_H_
#endif

#include "core/kernels/vector-inl.h"

#if LOGITD_HAVE_VECTORS
HWY_BEFORE_NAMESPACE();
namespace logitd::kernels::HWY_NAMESPACE {

using HalfBitsTag = hn::Rebind<uint16_t, FloatTag>;
using HalfBits = hn::Vec<HalfBitsTag>;

// Values at any address: bytes have no alignment.
HWY_INLINE HalfBits LoadHalves(const uint8_t* bytes) {
  const hn::Repartition<uint8_t, HalfBitsTag> d;
  return hn::BitCast(HalfBitsTag(), hn::LoadU(d, bytes));
}

struct F16 {
  HWY_INLINE Floats operator()(HalfBits halves) const {
    const hn::Rebind<hwy::float16_t, FloatTag> d;
    return hn::PromoteTo(FloatTag(), hn::BitCast(d, halves));
  }
};

struct Bf16 {
  HWY_INLINE Floats operator()(HalfBits halves) const {
    return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(hn::PromoteTo(BitsTag(), halves)));
  }
};

struct Lin16 {
  HWY_INLINE Floats operator()(HalfBits halves) const {
    const FloatTag d;
    const auto q = hn::PromoteTo(IntTag(), halves);
    const Floats value = hn::NegMulAdd(hn::ConvertTo(d, q), hn::Set(d, step), hn::Set(d, max));
    return hn::IfThenElse(hn::RebindMask(d, hn::Eq(q, hn::Set(IntTag(), kLin16Excluded))), hn::Set(d, MinusInfinity()),
                          value);
  }
  float max, step;
};

template <class Format>
HWY_INLINE void WidenAs(const Format& widen, const void* values, size_t n, float* out) {
  const FloatTag d;
  const uint8_t* bytes = static_cast<const uint8_t*>(values);
  size_t i = 0;
  for (; i + kFloatLanes <= n; i += kFloatLanes) hn::StoreU(widen(LoadHalves(bytes + 2 * i)), d, out + i);
  if (i == n) return;
  uint8_t last[2 * kFloatLanes] = {};
  float widened[kFloatLanes];
  memcpy(last, bytes + 2 * i, 2 * (n - i));
  hn::StoreU(widen(LoadHalves(last)), d, widened);
  memcpy(out + i, widened, (n - i) * sizeof(float));
}

inline void WidenF16(const void* values, size_t n, float* out) { WidenAs(F16(), values, n, out); }
inline void WidenBf16(const void* values, size_t n, float* out) { WidenAs(Bf16(), values, n, out); }
inline void WidenLin16(const void* values, size_t n, float linear_max, float linear_step, float* out) {
  WidenAs(Lin16{linear_max, linear_step}, values, n, out);
}

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#endif  // LOGITD_CORE_KERNELS_WIDEN_INL_H_
