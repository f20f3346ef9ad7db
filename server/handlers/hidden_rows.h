// The rows of one message as logits, where some of them are hidden states: a head computes those a tile at a time.
//
//   HiddenRows hidden(rows, workspaces, context);
//   for (size_t begin = 0; begin < indices.size();) {
//     ASSIGN_OR_RETURN(const size_t count, hidden.Prepare(std::span(indices).subspan(begin)));
//     ... hidden.Row(indices[begin + i], buffers) for i in [0, count) ...
//     begin += count;
//   }
//
//   rows       logits  hidden hidden hidden ... hidden  logits  hidden
//   Prepare    |---------- 64 hidden rows ----------|   |-----------|        each tile is one pass over W
//
// - The logits of a row have the same bits whatever tile it is in, and however many threads work on it.
// - A tile is lent memory (step_workspaces.h), so a message never holds more than one, however many rows it has.
// - The threads of workspaces.crew() share a large tile. A call that is given up stops within one.
// Without rows of hidden states it does nothing: Prepare takes all rows at once. One thread prepares; several may then
// read rows.
#ifndef LOGITD_SERVER_HANDLERS_HIDDEN_ROWS_H_
#define LOGITD_SERVER_HANDLERS_HIDDEN_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/logits_row.h"
#include "server/converters/logits.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

class HiddenRows {
 public:
  // All arguments outlive it.
  HiddenRows(const WireRows& rows, StepWorkspaces& workspaces, const RequestContext& context)
      : rows_(rows), workspaces_(workspaces), context_(context) {}

  // Makes as many of these rows ready as one tile holds, and returns their number, >= 1 unless there are none. Those
  // that were ready before no longer are. An index outside the message counts as a row and is left out.
  // Errors: CANCELLED, DEADLINE_EXCEEDED. REQUIRES: the calling thread holds no lease of `workspaces`.
  absl::StatusOr<size_t> Prepare(std::span<const int32_t> indices);

  // As WireRows::Row, for any row. REQUIRES: it is ready.
  // Errors: also FIELD_OUT_OF_RANGE (field "hidden[k]") for a hidden value that is not finite.
  absl::StatusOr<LogitsRow> Row(int32_t index, RowBuffers& buffers) const;
  // As WireRows::RowInPlace; empty for a row of hidden states.
  LogitsView RowInPlace(int32_t index) const { return rows_.RowInPlace(index); }

 private:
  // Where a ready row's logits are.
  struct Place {
    size_t begin = 0;
    absl::Status status;
  };
  // Computes the rows of one block, whose logits go to `begin` and after it in the tile's.
  absl::Status Compute(const HiddenBlock& block, std::span<const int32_t> indices, size_t begin);

  const WireRows& rows_;
  StepWorkspaces& workspaces_;
  const RequestContext& context_;
  std::optional<StepWorkspaces::TileLease> tile_;
  std::unordered_map<int32_t, Place> places_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_HIDDEN_ROWS_H_
