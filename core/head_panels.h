// The weights of HeadColumns as they lie in memory. For core/head_columns.cc and core/softmax_head.cc only.
#ifndef LOGITD_CORE_HEAD_PANELS_H_
#define LOGITD_CORE_HEAD_PANELS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/kernels/head_kernels.h"

namespace logitd {

// Floats at the start of a cache line, uninitialised. Null if the system gives no memory.
struct FreeAligned {
  void operator()(float* values) const;
};
using AlignedFloats = std::unique_ptr<float[], FreeAligned>;
AlignedFloats MakeAligned(size_t count);

struct HeadPanels {
  size_t column_count = 0;
  size_t hidden_size = 0;
  // [panel_count][hidden_size][16]; columns beyond column_count are 0.
  AlignedFloats weights;
  // [panel_count][16]; null: none.
  AlignedFloats bias;
  // 1: none.
  float scale = 1;
  // 0: none.
  float soft_cap = 0;

  size_t panel_count() const { return (column_count + kernels::kPanelColumns - 1) / kernels::kPanelColumns; }
  float* panel(size_t index) const { return weights.get() + index * hidden_size * kernels::kPanelColumns; }
  // The weight for h[k] of a column.
  float& weight(size_t column, size_t k) const {
    return panel(column / kernels::kPanelColumns)[k * kernels::kPanelColumns + column % kernels::kPanelColumns];
  }
  size_t bytes() const;
};

// Makes each x cap tanh(x / cap), in double, rounded once; NaN stays NaN.
// Error: <= 1 ulp of f32. REQUIRES: cap is finite and > 0.
void ApplySoftCap(std::span<float> logits, float cap);

}  // namespace logitd

#endif  // LOGITD_CORE_HEAD_PANELS_H_
