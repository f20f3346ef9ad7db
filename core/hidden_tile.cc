#include "core/hidden_tile.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/float_environment.h"
#include "core/kernels/head_kernels.h"

namespace logitd {
namespace {

using kernels::kGroupRows;

constexpr size_t kTileBytes = size_t{16} << 20;

size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

absl::Status HiddenTile::Add(std::span<const float> hidden, const OutputNorm* norm) {
  for (size_t k = 0; k < hidden.size(); ++k) {
    if (!std::isfinite(hidden[k])) {
      return errors::OutOfRange(Element("hidden", static_cast<int64_t>(k)), hidden[k], "finite");
    }
  }
  if (norm != nullptr) {
    UseExactFloats();
    normed_.resize(hidden_size_);
    // A square of a float is exact in double.
    double squares = 0;
    for (const float x : hidden) squares += static_cast<double>(x) * static_cast<double>(x);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden_size_) + norm->epsilon);
    for (size_t k = 0; k < hidden_size_; ++k) {
      normed_[k] = static_cast<float>(static_cast<double>(hidden[k]) * scale * static_cast<double>(norm->weight[k]));
    }
    hidden = normed_;
  }
  const size_t group = row_count_ / kGroupRows;
  const size_t group_size = hidden_size_ * kGroupRows;
  if (values_.size() < (group + 1) * group_size) values_.resize((group + 1) * group_size);
  float* out = values_.data() + group * group_size + row_count_ % kGroupRows;
  for (size_t k = 0; k < hidden_size_; ++k) out[k * kGroupRows] = hidden[k];
  ++row_count_;
  return absl::OkStatus();
}

void HiddenTile::Clear(int32_t hidden_size) {
  hidden_size_ = static_cast<size_t>(hidden_size);
  row_count_ = 0;
}

int32_t TileRows(int32_t column_count, int64_t rows_left) {
  const size_t rows = static_cast<size_t>(std::max<int64_t>(rows_left, 1));
  const size_t most = std::max<size_t>(1, kTileBytes / sizeof(float) / static_cast<size_t>(column_count));
  const size_t tiles = (rows + most - 1) / most;
  // Whole groups, unless they are too many rows.
  const size_t even = (rows + tiles - 1) / tiles;
  return static_cast<int32_t>(std::min({RoundUp(even, kGroupRows), most, rows}));
}

}  // namespace logitd
