// Hidden states of a few positions, as HeadColumns::ComputeLogits takes them: the input of a softmax head.
//
//   HiddenTile tile(head.hidden_size());
//   for (...) RETURN_IF_ERROR(tile.Add(hidden, before_output_norm ? head.output_norm() : nullptr));
//
// Thread-compatible: one thread fills it, then many may read it. It keeps its memory when it is cleared: 4 bytes for
// each value of the largest tile, with the rows rounded up to a multiple of 12.
#ifndef LOGITD_CORE_HIDDEN_TILE_H_
#define LOGITD_CORE_HIDDEN_TILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace logitd {

// A model's RMS norm before its head: y[k] = x[k] weight[k] / sqrt(mean of x^2 + epsilon).
// In double, the squares added in ascending k; y is rounded once, to f32. Source: docs/numerics.md, section 9.
struct OutputNorm {
  // Shape [hidden_size].
  std::vector<float> weight;
  // >= 0.
  double epsilon = 0;
};

class HiddenTile {
 public:
  // REQUIRES: hidden_size >= 1.
  explicit HiddenTile(int32_t hidden_size) : hidden_size_(static_cast<size_t>(hidden_size)) {}

  // Adds a row. `norm` is applied to it first; null: it is as the head multiplies it.
  // Shapes: hidden [hidden_size]; any alignment beyond a float's.
  // Errors: FIELD_OUT_OF_RANGE, field "hidden[k]", for the first value that is NaN or infinite; the tile is unchanged.
  // REQUIRES: hidden.size() == hidden_size(); the norm has this size.
  absl::Status Add(std::span<const float> hidden, const OutputNorm* norm = nullptr);
  // No rows, of this size from now on. REQUIRES: hidden_size >= 1.
  void Clear(int32_t hidden_size);
  void Clear() { row_count_ = 0; }

  int32_t row_count() const { return static_cast<int32_t>(row_count_); }
  int32_t hidden_size() const { return static_cast<int32_t>(hidden_size_); }
  // For the kernels (core/kernels/head_kernels.h): groups of 12 rows, [row_count / 12, rounded up][hidden_size][12].
  const float* groups() const { return values_.data(); }

 private:
  size_t hidden_size_;
  size_t row_count_ = 0;
  std::vector<float> values_;
  // The row with the norm applied.
  std::vector<float> normed_;
};

// Rows of the next tile when `rows_left` rows are to be computed for `column_count` columns each: at most 16 MiB of f32
// logits, at least 1, and tiles of like size, for each reads all weights once.
int32_t TileRows(int32_t column_count, int64_t rows_left);

}  // namespace logitd

#endif  // LOGITD_CORE_HIDDEN_TILE_H_
