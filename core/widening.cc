#include "core/widening.h"

#include <cmath>

#include "core/kernels/row_kernels.h"

namespace logitd {

static_assert(kLin16Excluded == kernels::kLin16Excluded);

void WidenF16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_f16(bytes, out.size(), out.data());
}

void WidenBf16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_bf16(bytes, out.size(), out.data());
}

void WidenLin16(const char* bytes, float linear_max, float linear_step, std::span<float> out) {
  kernels::ActiveKernels().widen_lin16(bytes, out.size(), linear_max, linear_step, out.data());
}

bool IsLin16Scale(float linear_max, float linear_step) {
  // The values fall with the code, so the last one decides.
  return std::isfinite(linear_max) && std::isfinite(linear_step) && linear_step >= 0 &&
         std::isfinite(std::fma(-static_cast<float>(kLin16LargestCode), linear_step, linear_max));
}

}  // namespace logitd
