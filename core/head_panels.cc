#include "core/head_panels.h"

#include <cmath>
#include <new>

#include "core/exact_math.h"

namespace logitd {
namespace {

constexpr std::align_val_t kLine{64};

// For |y| < 2^-5 by its series: 1 - Exp(-2 |y|) would lose the digits of a small y. The first term left out is below
// 2^-56 of the first.
double Tanh(double y) {
  const double magnitude = std::fabs(y);
  if (magnitude < 0x1p-5) {
    const double z = y * y;
    return y * (1 + z * (-1.0 / 3 + z * (2.0 / 15 + z * (-17.0 / 315 + z * (62.0 / 2835)))));
  }
  const double e = Exp(-2 * magnitude);
  return std::copysign((1 - e) / (1 + e), y);
}

}  // namespace

void FreeAligned::operator()(float* values) const { ::operator delete(values, kLine); }

AlignedFloats MakeAligned(size_t count) {
  return AlignedFloats(static_cast<float*>(::operator new(count * sizeof(float), kLine, std::nothrow)));
}

size_t HeadPanels::bytes() const {
  const size_t columns = panel_count() * kernels::kPanelColumns;
  return (columns * hidden_size + (bias == nullptr ? 0 : columns)) * sizeof(float);
}

void ApplySoftCap(std::span<float> logits, float cap) {
  const double bound = cap;
  for (float& logit : logits) {
    if (!std::isnan(logit)) logit = static_cast<float>(bound * Tanh(static_cast<double>(logit) / bound));
  }
}

}  // namespace logitd
