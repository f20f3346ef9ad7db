// A product computes at most 96 rows and 8 panels into a buffer that stays in a near cache; from there the logits are
// copied to their places. A subset of the four columns 3, 20, 21 and 40 of V = 48:
//
//   packed         one panel: | w3 w20 w21 w40 0 ... |
//   by reference   panel 0: lane 3 -> column 0;  panel 1: lanes 4, 5 -> columns 1, 2;  panel 2: lane 8 -> column 3
#include "core/head_columns.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "core/float_environment.h"
#include "core/head_panels.h"
#include "core/kernels/row_kernels.h"

namespace logitd {
namespace {

using kernels::kPanelColumns;
using kernels::kProductColumns;
using kernels::kProductPanels;
using kernels::kProductRows;

// The logits of one product, soft-cap included.
class ProductBuffer {
 public:
  ProductBuffer(const HeadPanels& panels, const HiddenTile& tile) : panels_(panels), tile_(tile) {}

  // REQUIRES: first_row is a multiple of 12; row_count <= kProductRows; panel_count <= kProductPanels.
  void Compute(size_t first_row, size_t row_count, size_t first_panel, size_t panel_count) {
    kernels::HeadProduct product;
    product.groups = tile_.groups() + first_row * panels_.hidden_size;
    product.row_count = row_count;
    product.panels = panels_.panel(first_panel);
    product.panel_count = panel_count;
    product.hidden_size = panels_.hidden_size;
    product.bias = panels_.bias == nullptr ? nullptr : panels_.bias.get() + first_panel * kPanelColumns;
    product.scale = panels_.scale;
    product.out = logits_;
    kernels::ActiveKernels().compute_logits(product);
    if (panels_.soft_cap == 0) return;
    for (size_t i = 0; i < row_count; ++i) {
      ApplySoftCap({logits_ + i * kProductColumns, panel_count * kPanelColumns}, panels_.soft_cap);
    }
  }
  const float* row(size_t i) const { return logits_ + i * kProductColumns; }

 private:
  const HeadPanels& panels_;
  const HiddenTile& tile_;
  alignas(64) float logits_[kProductRows * kProductColumns];
};

absl::Status NoMemory(size_t bytes) {
  return errors::LimitExceeded("token_ids", static_cast<int64_t>(bytes),
                               "columns of at most the bytes that this machine gives", "");
}

}  // namespace

HeadColumns::HeadColumns(std::shared_ptr<const HeadPanels> panels)
    : panels_(std::move(panels)), size_(static_cast<int32_t>(panels_->column_count)) {}

int32_t HeadColumns::hidden_size() const { return static_cast<int32_t>(panels_->hidden_size); }

int32_t HeadColumns::panel_count() const {
  return static_cast<int32_t>(sources_.empty() ? panels_->panel_count() : sources_.size() - 1);
}

float HeadColumns::logit_scale() const { return panels_->scale; }
float HeadColumns::soft_cap() const { return panels_->soft_cap; }
size_t HeadColumns::bytes() const { return panels_->bytes(); }

absl::StatusOr<HeadColumns> HeadColumns::Select(std::span<const TokenId> token_ids, size_t max_packed_bytes) const {
  if (token_ids.empty()) return errors::EmptyTokenSet("token_ids");
  for (size_t i = 0; i < token_ids.size(); ++i) {
    if (token_ids[i] < 0 || token_ids[i] >= size_) {
      return errors::TokenIdOutOfRange(Element("token_ids", static_cast<int64_t>(i)), token_ids[i], size_);
    }
  }
  const size_t columns = (token_ids.size() + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  if (columns * panels_->hidden_size * sizeof(float) > max_packed_bytes) return SelectByReference(token_ids);
  return SelectPacked(token_ids);
}

absl::StatusOr<HeadColumns> HeadColumns::SelectPacked(std::span<const TokenId> token_ids) const {
  auto packed = std::make_shared<HeadPanels>();
  packed->column_count = token_ids.size();
  packed->hidden_size = panels_->hidden_size;
  packed->scale = panels_->scale;
  packed->soft_cap = panels_->soft_cap;
  const size_t columns = packed->panel_count() * kPanelColumns;
  packed->weights = MakeAligned(columns * packed->hidden_size);
  if (packed->weights == nullptr) return NoMemory(packed->bytes());
  for (size_t begin = 0; begin < columns; begin += kPanelColumns) {
    float* panel = packed->panel(begin / kPanelColumns);
    const size_t used = std::min(kPanelColumns, token_ids.size() - begin);
    if (used < kPanelColumns) std::fill_n(panel, packed->hidden_size * kPanelColumns, 0.0f);
    for (size_t lane = 0; lane < used; ++lane) {
      const float* weights = &panels_->weight(static_cast<size_t>(token_ids[begin + lane]), 0);
      for (size_t k = 0; k < packed->hidden_size; ++k) panel[k * kPanelColumns + lane] = weights[k * kPanelColumns];
    }
  }
  if (panels_->bias != nullptr) {
    packed->bias = MakeAligned(columns);
    if (packed->bias == nullptr) return NoMemory(packed->bytes());
    std::fill_n(packed->bias.get(), columns, 0.0f);
    for (size_t i = 0; i < token_ids.size(); ++i) packed->bias[i] = panels_->bias[static_cast<size_t>(token_ids[i])];
  }
  return HeadColumns(std::move(packed));
}

HeadColumns HeadColumns::SelectByReference(std::span<const TokenId> token_ids) const {
  HeadColumns selection(panels_);
  selection.size_ = static_cast<int32_t>(token_ids.size());
  // Columns ordered by panel.
  std::vector<int32_t> order(token_ids.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::ranges::stable_sort(order, {}, [&](int32_t i) { return token_ids[static_cast<size_t>(i)]; });
  constexpr auto kPanel = static_cast<TokenId>(kPanelColumns);
  selection.slots_.reserve(order.size());
  for (const int32_t i : order) {
    const TokenId token = token_ids[static_cast<size_t>(i)];
    if (selection.sources_.empty() || selection.sources_.back().panel != token / kPanel) {
      selection.sources_.push_back({token / kPanel, static_cast<int32_t>(selection.slots_.size())});
    }
    selection.slots_.push_back({token % kPanel, i});
  }
  selection.sources_.push_back({-1, static_cast<int32_t>(selection.slots_.size())});
  return selection;
}

size_t HeadColumns::RunFrom(size_t panel, size_t end) const {
  const size_t most = std::min(kProductPanels, end - panel);
  if (sources_.empty()) return most;
  size_t count = 1;
  while (count < most && sources_[panel + count].panel == sources_[panel + count - 1].panel + 1) ++count;
  return count;
}

void HeadColumns::Place(const float* logits, size_t panel, size_t count, float* row) const {
  if (sources_.empty()) {
    const size_t column = panel * kPanelColumns;
    const size_t width = std::min(count * kPanelColumns, panels_->column_count - column);
    std::memcpy(row + column, logits, width * sizeof(float));
    return;
  }
  for (size_t i = 0; i < count; ++i, logits += kPanelColumns) {
    const auto begin = slots_.begin() + sources_[panel + i].begin;
    const auto end = slots_.begin() + sources_[panel + i + 1].begin;
    for (const Slot& slot : std::span(begin, end)) row[slot.column] = logits[slot.lane];
  }
}

void HeadColumns::ComputeLogits(const HiddenTile& tile, int32_t first_panel, int32_t last_panel, float* out,
                                size_t row_stride) const {
  UseExactFloats();
  ProductBuffer buffer(*panels_, tile);
  const size_t rows = static_cast<size_t>(tile.row_count());
  const size_t end = static_cast<size_t>(last_panel);
  for (size_t first_row = 0; first_row < rows; first_row += kProductRows) {
    const size_t row_count = std::min(kProductRows, rows - first_row);
    size_t count;
    for (size_t panel = static_cast<size_t>(first_panel); panel < end; panel += count) {
      count = RunFrom(panel, end);
      const size_t source = sources_.empty() ? panel : static_cast<size_t>(sources_[panel].panel);
      buffer.Compute(first_row, row_count, source, count);
      for (size_t i = 0; i < row_count; ++i) Place(buffer.row(i), panel, count, out + (first_row + i) * row_stride);
    }
  }
}

void HeadColumns::ComputeLogits(const HiddenTile& tile, std::span<float> out) const {
  ComputeLogits(tile, 0, panel_count(), out.data(), static_cast<size_t>(size_));
}

}  // namespace logitd
