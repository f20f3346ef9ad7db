#include "core/row_values.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/kernels/row_kernels.h"

namespace logitd {

void WidenF16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_f16(bytes, out.size(), out.data());
}

void WidenBf16(const char* bytes, std::span<float> out) {
  kernels::ActiveKernels().widen_bf16(bytes, out.size(), out.data());
}

void WidenLin16(const char* bytes, float linear_max, float linear_step, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t code;
    std::memcpy(&code, bytes + i * sizeof(code), sizeof(code));
    out[i] = code == kLin16Excluded ? -std::numeric_limits<float>::infinity()
                                    : std::fma(-static_cast<float>(code), linear_step, linear_max);
  }
}

bool IsLin16Scale(float linear_max, float linear_step) {
  // The values fall with the code, so the last one decides.
  return std::isfinite(linear_max) && std::isfinite(linear_step) && linear_step >= 0 &&
         std::isfinite(std::fma(-static_cast<float>(kLin16LargestCode), linear_step, linear_max));
}

}  // namespace logitd
