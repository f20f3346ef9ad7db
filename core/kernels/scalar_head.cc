#include "core/kernels/scalar_head.h"

#include <cmath>
#include <limits>

namespace logitd::kernels {
namespace {

// h[k] is at hidden[k * 12], w[k] at weights[k * 16].
float Product(const float* hidden, const float* weights, size_t hidden_size) {
  float total = 0;
  for (size_t begin = 0; begin < hidden_size; begin += kHeadBlock) {
    const size_t end = begin + kHeadBlock < hidden_size ? begin + kHeadBlock : hidden_size;
    float sum = 0;
    for (size_t k = begin; k < end; ++k) sum = std::fma(hidden[k * kGroupRows], weights[k * kPanelColumns], sum);
    total = begin == 0 ? sum : total + sum;
  }
  return total;
}

}  // namespace

void ComputeLogitsScalar(const HeadProduct& product) {
  const size_t column_count = product.panel_count * kPanelColumns;
  for (size_t i = 0; i < product.row_count; ++i) {
    const float* hidden = product.groups + i / kGroupRows * product.hidden_size * kGroupRows + i % kGroupRows;
    for (size_t j = 0; j < column_count; ++j) {
      const float* weights =
          product.panels + j / kPanelColumns * product.hidden_size * kPanelColumns + j % kPanelColumns;
      float logit = Product(hidden, weights, product.hidden_size);
      if (product.bias != nullptr) logit += product.bias[j];
      logit *= product.scale;
      product.out[i * kProductColumns + j] = std::isfinite(logit) ? logit : std::numeric_limits<float>::quiet_NaN();
    }
  }
}

}  // namespace logitd::kernels
