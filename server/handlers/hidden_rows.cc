#include "server/handlers/hidden_rows.h"

#include <algorithm>
#include <map>

#include "base/status_macros.h"
#include "server/head_tiles.h"

namespace logitd::server {
absl::StatusOr<size_t> HiddenRows::Prepare(std::span<const int32_t> indices) {
  if (!rows_.has_hidden()) return indices.size();
  places_.clear();
  // The rows of the tile, by block.
  std::map<const HiddenBlock*, std::vector<int32_t>> wanted;
  const auto hidden_of = [this](int32_t index) {
    return index < 0 || index >= rows_.row_count() ? nullptr : rows_.Hidden(index);
  };
  const auto left =
      std::count_if(indices.begin(), indices.end(), [&](int32_t index) { return hidden_of(index) != nullptr; });
  size_t logits = 0;
  size_t values = 0;
  size_t count = 0;
  int64_t row_count = 0;
  for (; count < indices.size(); ++count) {
    const HiddenBlock* block = hidden_of(indices[count]);
    if (block == nullptr || places_.contains(indices[count])) continue;
    const auto width = static_cast<size_t>(block->columns.size());
    const auto hidden_size = static_cast<size_t>(block->columns.hidden_size());
    const bool fits = logits + width <= kTileFloats && values + hidden_size <= kTileFloats &&
                      row_count < TileRows(block->columns.size(), left);
    if (row_count > 0 && !fits) break;
    places_[indices[count]] = {};
    wanted[block].push_back(indices[count]);
    logits += width;
    values += hidden_size;
    ++row_count;
  }
  if (row_count == 0) return count;
  if (!tile_) {
    ASSIGN_OR_RETURN(StepWorkspaces::TileLease lease, workspaces_.LendTile(context_));
    tile_.emplace(std::move(lease));
  }
  TileWorkspace& tile = **tile_;
  if (tile.logits.size() < logits) tile.logits.resize(logits);
  size_t begin = 0;
  for (const auto& [block, block_rows] : wanted) {
    RETURN_IF_ERROR(Compute(*block, block_rows, begin));
    begin += block_rows.size() * static_cast<size_t>(block->columns.size());
  }
  return count;
}

absl::Status HiddenRows::Compute(const HiddenBlock& block, std::span<const int32_t> indices, size_t begin) {
  TileWorkspace& tile = **tile_;
  tile.hidden.Clear(block.columns.hidden_size());
  for (const int32_t index : indices) {
    Place& place = places_[index];
    // A row that cannot be taken has none.
    place.begin = begin + static_cast<size_t>(tile.hidden.row_count()) * static_cast<size_t>(block.columns.size());
    place.status = tile.hidden.Add(rows_.HiddenValues(index, tile.values), block.norm);
  }
  if (tile.hidden.row_count() == 0) return absl::OkStatus();
  return ComputeTile(block.columns, tile.hidden, workspaces_.crew(), context_, tile.logits.data() + begin);
}

absl::StatusOr<LogitsRow> HiddenRows::Row(int32_t index, RowBuffers& buffers) const {
  const HiddenBlock* block = rows_.Hidden(index);
  if (block == nullptr) return rows_.Row(index, buffers);
  const Place& place = places_.at(index);
  RETURN_IF_ERROR(place.status);
  const LogitsView logits((*tile_)->logits.data() + place.begin, static_cast<size_t>(block->columns.size()));
  if (block->token_ids.empty()) return LogitsRow(logits);
  return LogitsRow::Sparse(logits, block->token_ids, rows_.vocab_size());
}

}  // namespace logitd::server
