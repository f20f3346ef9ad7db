// The logits of `--logits`, in whichever way they are given: a list of numbers, or a file that numpy.save wrote. What
// `distribution`, `decode`, `score` and `verify` have in common.
//
//   --logits 6,3,0.5,-inf         one row
//   --logits rows.npy             [V], one row; [T, V], one sequence; [B, T, V], B sequences of T rows
//   --logits - < rows.npy         the same from standard input
//   --logits rows.npy --dtype bf16
#ifndef LOGITD_CLIENT_CLI_LOGITS_INPUT_H_
#define LOGITD_CLIENT_CLI_LOGITS_INPUT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "client/cli/npy_file.h"
#include "logitd/v1/logits.pb.h"

namespace logitd::cli {

// --logits and --dtype.
std::vector<Flag> LogitsFlags();
// --prompt-tokens: what came before the rows, for stages that look at it.
Flag PromptTokensFlag();

// Rows in pieces that fit a message. Read front to back, sequence after sequence. One thread.
class LogitsInput {
 public:
  // Errors: usage errors; --logits is missing, is no list and no file of such a shape.
  static absl::StatusOr<LogitsInput> Open(const Arguments& arguments, Environment& environment);

  // All of them are in [1, 2^31).
  int32_t sequence_count() const { return sequence_count_; }
  // Rows of each sequence.
  int32_t row_count() const { return row_count_; }
  int32_t vocab_size() const { return vocab_size_; }
  // The numbers were given as a list; they are f32 then.
  bool is_list() const { return !file_.has_value(); }
  const std::vector<float>& list() const { return list_; }
  // A list or [V]: a row that stands for itself, at whatever position.
  bool is_single_row() const { return is_single_row_; }

  // Number of the sequence that the next row belongs to; sequence_count(): there are no more rows.
  int32_t next_sequence() const { return next_sequence_; }
  // Number of the next row in its sequence.
  int32_t next_row() const { return next_row_; }

  // Reads the next rows, of one sequence alone and no more than a message should hold. Returns their number, >= 1.
  // REQUIRES: next_sequence() < sequence_count().
  absl::StatusOr<int32_t> ReadRows(v1::LogitsBlock& block, std::string& payload);
  // Reads row `row` of sequence `sequence` alone, leaving out what is before it. REQUIRES: nothing was read yet; both
  // are in range.
  absl::Status ReadRow(int32_t sequence, int32_t row, v1::LogitsBlock& block, std::string& payload);
  // Leaves out what is left of the sequence that the last rows were of. Nothing may be left.
  absl::Status SkipSequence(int32_t sequence);

 private:
  absl::Status TakeList(const std::string& text);
  absl::Status TakeShape();
  // The next `rows` rows, as they go over the wire.
  absl::Status ReadValues(int32_t rows, v1::LogitsBlock& block, std::string& payload);
  absl::Status SkipValues(int64_t rows);
  void Advance(int32_t rows);

  // Unset: a list.
  std::optional<NpyFile> file_;
  std::vector<float> list_;
  bool is_single_row_ = false;
  int32_t sequence_count_ = 1;
  int32_t row_count_ = 1;
  int32_t vocab_size_ = 0;
  int32_t next_sequence_ = 0;
  int32_t next_row_ = 0;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_LOGITS_INPUT_H_
