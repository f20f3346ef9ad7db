#include "server/head_tiles.h"

#include <algorithm>
#include <cstdint>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::server {
namespace {

// Panels of one piece of work: with fewer, weights are read from memory too slowly (core/head_columns.h).
constexpr int32_t kPiecePanels = 64;
// This many products are worth another thread: about 200 us.
constexpr int64_t kHelperProducts = int64_t{1} << 22;

}  // namespace

absl::Status ComputeTile(const HeadColumns& columns, const HiddenTile& tile, StepCrew& crew,
                         const RequestContext& context, float* logits) {
  const int32_t panels = columns.panel_count();
  const auto stride = static_cast<size_t>(columns.size());
  const int32_t pieces = std::max(1, panels / kPiecePanels);
  const int64_t products = int64_t{tile.row_count()} * columns.size() * columns.hidden_size();
  crew.Run(static_cast<size_t>(pieces), static_cast<size_t>(products / kHelperProducts), [&](size_t piece) {
    if (!context.Check().ok()) return;
    const auto place = [&](size_t i) {
      return static_cast<int32_t>(int64_t{panels} * static_cast<int64_t>(i) / pieces);
    };
    columns.ComputeLogits(tile, place(piece), place(piece + 1), logits, stride);
  });
  return context.Check();
}

absl::StatusOr<std::vector<float>> RunnerRows::LogitsOf(const SoftmaxHead& head, const OutputNorm* norm,
                                                        std::span<const float> hidden,
                                                        const RequestContext& context) const {
  const auto hidden_size = static_cast<size_t>(head.hidden_size());
  const auto vocab_size = static_cast<size_t>(head.vocab_size());
  const size_t row_count = hidden.size() / hidden_size;
  std::vector<float> logits(row_count * vocab_size);
  ASSIGN_OR_RETURN(const StepWorkspaces::TileLease tile, workspaces_.LendTile(context));
  const size_t most = std::max<size_t>(1, kTileFloats / hidden_size);
  for (size_t begin = 0; begin < row_count;) {
    const auto left = static_cast<int64_t>(row_count - begin);
    const size_t count = std::min(most, static_cast<size_t>(TileRows(head.vocab_size(), left)));
    tile->hidden.Clear(head.hidden_size());
    for (size_t row = begin; row < begin + count; ++row) {
      const absl::Status status = tile->hidden.Add(hidden.subspan(row * hidden_size, hidden_size), norm);
      // A bad row is the model's fault, not the request's.
      if (!status.ok()) return errors::ModelOutputInvalid(DetailOf(status).message);
    }
    RETURN_IF_ERROR(
        ComputeTile(head.columns(), tile->hidden, workspaces_.crew(), context, logits.data() + begin * vocab_size));
    begin += count;
  }
  return logits;
}

}  // namespace logitd::server
