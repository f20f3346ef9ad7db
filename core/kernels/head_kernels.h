// The product of hidden states and weights, once per instruction set: the logits of a softmax head. The arithmetic is
// normative (docs/numerics.md, section 9). For one row h and one column w:
//
//   for each block of 128 k:  sum = 0;  sum = fma(h[k], w[k], sum), k ascending
//   total = the first block's sum;  total = total + sum of each further block, in order
//   logit = (total + bias) scale, NaN unless finite
//
// all in f32. No step depends on another row or column, so no shape of tiles, vectors or threads changes a bit.
#ifndef LOGITD_CORE_KERNELS_HEAD_KERNELS_H_
#define LOGITD_CORE_KERNELS_HEAD_KERNELS_H_

#include <cstddef>

namespace logitd::kernels {

// Columns of one panel: a cache line of f32, and one or two vectors.
inline constexpr size_t kPanelColumns = 16;
// Rows of one group: with two panels their sums take 24 of AVX-512's 32 registers; half of them with one panel 12 of
// AVX2's 16.
inline constexpr size_t kGroupRows = 12;
// Terms that are added up before the sum is added to the total.
inline constexpr size_t kHeadBlock = 128;
// Most rows and panels of one product, and so the width of a row of its result: the result stays in a near cache.
inline constexpr size_t kProductRows = 8 * kGroupRows;
inline constexpr size_t kProductPanels = 8;
inline constexpr size_t kProductColumns = kProductPanels * kPanelColumns;

struct HeadProduct {
  // Groups of rows, [row_count / 12, rounded up][hidden_size][12]; row_count in [1, kProductRows]. Rows beyond
  // row_count in the last group may hold any values.
  const float* groups;
  size_t row_count;
  // [panel_count][hidden_size][16]; panel_count in [1, kProductPanels].
  const float* panels;
  size_t panel_count;
  size_t hidden_size;
  // [panel_count][16]; null: none.
  const float* bias;
  // 1: none.
  float scale;
  // [row_count][kProductColumns], of which the first panel_count * 16 of each row are written.
  float* out;
};

}  // namespace logitd::kernels

#endif  // LOGITD_CORE_KERNELS_HEAD_KERNELS_H_
