// Tiles of hidden states become logits: a few rows at a time, in lent memory, by as many threads as that is worth.
#ifndef LOGITD_SERVER_HEAD_TILES_H_
#define LOGITD_SERVER_HEAD_TILES_H_

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/head_columns.h"
#include "core/hidden_tile.h"
#include "server/models/heads.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// Logits of one tile, f32 (TileRows), and hidden values of one: 16 MiB each.
inline constexpr size_t kTileFloats = size_t{4} << 20;

// The logits of `tile`, [rows, columns.size()], by this thread and as many of the crew's as that is worth. The threads
// look at `context` between panels of W. Errors: CANCELLED, DEADLINE_EXCEEDED; `logits` is then not complete.
absl::Status ComputeTile(const HeadColumns& columns, const HiddenTile& tile, StepCrew& crew,
                         const RequestContext& context, float* logits);

// The rows of runners: a tile at a time, in lent memory.
class RunnerRows : public RunnerHead {
 public:
  // `workspaces` outlives it.
  explicit RunnerRows(StepWorkspaces& workspaces) : workspaces_(workspaces) {}
  absl::StatusOr<std::vector<float>> LogitsOf(const SoftmaxHead& head, const OutputNorm* norm,
                                              std::span<const float> hidden,
                                              const RequestContext& context) const override;

 private:
  StepWorkspaces& workspaces_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HEAD_TILES_H_
