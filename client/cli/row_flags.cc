#include "client/cli/row_flags.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "client/cli/logits_input.h"
#include "client/cli/request_flags.h"

namespace logitd::cli {

std::vector<Flag> RowFlags() {
  std::vector<Flag> flags = LogitsFlags();
  flags.push_back({"--row", "T",
                   "which row of a file that holds several; default: that of the step, --position or else as many as "
                   "--output-tokens has"});
  flags.push_back({"--sequence", "B", "which sequence of a file that holds several; default 0"});
  return flags;
}

absl::Status SetRow(const Arguments& arguments, Environment& environment, v1::ComputeDistributionRequest& request) {
  absl::StatusOr<LogitsInput> input = LogitsInput::Open(arguments, environment);
  if (!input.ok()) return input.status();
  if (input->is_list()) {
    for (const char* flag : {"--row", "--sequence"}) {
      if (arguments.Has(flag))
        return UsageError(flag, absl::StrCat(flag, " goes with a file of rows: --logits FILE.npy"));
    }
    for (const float value : input->list()) request.mutable_logits()->add_float_values(value);
    return absl::OkStatus();
  }
  int32_t row = 0;
  if (!input->is_single_row()) {
    row = request.verify().has_position() ? request.verify().position() : request.output_token_ids_size();
  }
  int32_t sequence = 0;
  absl::Status status = SetIfGiven(arguments.Int32("--row"), [&](int32_t value) { row = value; });
  if (!status.ok()) return status;
  status = SetIfGiven(arguments.Int32("--sequence"), [&](int32_t value) { sequence = value; });
  if (!status.ok()) return status;
  if (row < 0 || row >= input->row_count()) {
    return UsageError(arguments.Has("--row")            ? "--row"
                      : request.verify().has_position() ? "--position"
                                                        : "--output-tokens",
                      absl::StrCat(row), absl::StrCat("in [0, ", input->row_count(), "), a row of the file"));
  }
  if (sequence < 0 || sequence >= input->sequence_count()) {
    return UsageError("--sequence", absl::StrCat(sequence),
                      absl::StrCat("in [0, ", input->sequence_count(), "), a sequence of the file"));
  }
  v1::Logits& logits = *request.mutable_logits();
  return input->ReadRow(sequence, row, *logits.mutable_block(), *logits.mutable_values());
}

}  // namespace logitd::cli
