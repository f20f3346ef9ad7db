#include "core/row_values.h"

#include "core/kernels/row_kernels.h"

namespace logitd {

void WidenF16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_f16(bytes, out.size(), out.data());
}

void WidenBf16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_bf16(bytes, out.size(), out.data());
}

}  // namespace logitd
