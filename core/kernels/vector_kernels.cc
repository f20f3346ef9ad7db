// The targets of Highway: this file is compiled once for each (foreach_target.h), and the tables are put together at
// the end. Targets without a fused multiply-add cannot give the normative bits, and vectors of unknown length were
// never tried: they are left out.
#include "hwy/detect_compiler_arch.h"
// AVX3_DL is AVX3 with instructions that nothing here uses.
#define HWY_DISABLED_TARGETS                                                                                   \
  (HWY_AVX3_DL | HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_WASM | \
   HWY_WASM_EMU256 | HWY_PPC8 | (HWY_ARCH_ARM_V7 ? HWY_NEON : 0))

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/vector_kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "core/kernels/head-inl.h"
#include "core/kernels/scan-inl.h"
#include "core/kernels/select-inl.h"
#include "core/kernels/vector-inl.h"
#include "core/kernels/weights-inl.h"
#include "core/kernels/widen-inl.h"
#include "hwy/highway.h"

#if LOGITD_HAVE_VECTORS
HWY_BEFORE_NAMESPACE();
namespace logitd::kernels::HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
constexpr const char* kTargetName = "AVX512";
#elif HWY_TARGET == HWY_AVX2
constexpr const char* kTargetName = "AVX2";
#else
constexpr const char* kTargetName = "NEON";
#endif

extern const RowKernels kKernels;
const RowKernels kKernels = {
    kTargetName, ScanRow,   SumWeights, SumWeightsAhead, SumBetween,    BoundBelow, Weigh,
    SumEntropy,  MinFinite, SumSpread,  CountGreater,    SumAtLeast,    Collect,    KeepBetween,
    Gather,      WidenF16,  WidenBf16,  WidenLin16,      ComputeLogits,
};

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#if HWY_ONCE
namespace logitd::kernels {

size_t VectorKernels(const RowKernels** targets) {
  size_t count = 0;
  [[maybe_unused]] const int64_t supported = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_AVX3
  if (supported & HWY_AVX3) targets[count++] = &N_AVX3::kKernels;
#endif
#if HWY_TARGETS & HWY_AVX2
  if (supported & HWY_AVX2) targets[count++] = &N_AVX2::kKernels;
#endif
#if HWY_TARGETS & HWY_NEON
  if (supported & HWY_NEON) targets[count++] = &N_NEON::kKernels;
#endif
  return count;
}

}  // namespace logitd::kernels
#endif  // HWY_ONCE
