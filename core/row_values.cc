#include "core/row_values.h"

#include "core/kernels/row_kernels.h"

namespace logitd {

void WidenF16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_f16(bytes, out.size(), out.data());
}

void WidenBf16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_bf16(bytes, out.size(), out.data());
}

void WidenLin16(const char* bytes, float linear_max, float linear_step, std::span<float> out) {
  kernels::ActiveKernels().widen_lin16(bytes, out.size(), linear_max, linear_step, out.data());
}

}  // namespace logitd
