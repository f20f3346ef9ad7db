// Rows of logits in pieces that fit a message: from an array that numpy.save wrote, or from a list of numbers.
//
//   absl::StatusOr<NpyFile> file = NpyFile::Open({"rows", "rows.npy", NpyContent::kLogits}, std::cin);
//   absl::StatusOr<LogitsRows> rows = LogitsRows::Of(*std::move(file));
//   while (rows->next_sequence() < rows->sequence_count()) {
//     absl::StatusOr<int32_t> count = rows->ReadRows(*request.add_blocks(), payload);
//     ...                                             // send the request with its payload
//   }
//
// Shape: [V] is one row, [T, V] one sequence of T rows, [B, T, V] B sequences of T rows. Rows are read front to back,
// so a file of many gigabytes takes the memory of one message. One thread.
#ifndef LOGITD_CLIENT_LOGITD_LOGITS_ROWS_H_
#define LOGITD_CLIENT_LOGITD_LOGITS_ROWS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/logitd/npy_file.h"
#include "logitd/v1/logits.pb.h"

namespace logitd::client {

class LogitsRows {
 public:
  // REQUIRES: `file` was opened for kLogits. Errors: InputError (its shape is none of the three, or a row has more than
  // 2^20 values).
  static absl::StatusOr<LogitsRows> Of(NpyFile file);
  // One row of these numbers. REQUIRES: not empty.
  static LogitsRows Of(std::vector<float> list);

  // All three are in [1, 2^31).
  int32_t sequence_count() const { return sequence_count_; }
  // Rows of each sequence.
  int32_t row_count() const { return row_count_; }
  int32_t vocab_size() const { return hidden_ ? hidden_vocab_size_ : width_; }
  // Values of a row: vocab_size(), unless the rows are hidden states.
  int32_t width() const { return width_; }
  // The rows are hidden states, for a head of the server that makes `vocab_size` logits of each.
  void SetHidden(v1::HiddenRows hidden, int32_t vocab_size);
  bool is_hidden() const { return hidden_.has_value(); }
  // Whether the rows came as a list; list() holds it.
  bool is_list() const { return !file_.has_value(); }
  const std::vector<float>& list() const { return list_; }
  // A list or [V]: one row that belongs to no position.
  bool is_single_row() const { return is_single_row_; }

  // The sequence that the next row belongs to; sequence_count() at the end.
  int32_t next_sequence() const { return next_sequence_; }
  // The next row's number in its sequence.
  int32_t next_row() const { return next_row_; }

  // Reads the next rows of one sequence, as many as one message should hold (4 MiB, 1,024 rows). Returns their number,
  // at least 1. REQUIRES: next_sequence() < sequence_count(). Errors: InputError.
  absl::StatusOr<int32_t> ReadRows(v1::LogitsBlock& block, std::string& payload);
  // Reads row `row` of sequence `sequence` alone. REQUIRES: nothing was read yet; both are in range.
  absl::Status ReadRow(int32_t sequence, int32_t row, v1::LogitsBlock& block, std::string& payload);
  // Skips the rows of `sequence` that were not read yet, if there are any.
  absl::Status SkipSequence(int32_t sequence);

 private:
  absl::Status TakeShape();
  // Reads the next `rows` rows as they go over the wire.
  absl::Status ReadValues(int32_t rows, v1::LogitsBlock& block, std::string& payload);
  absl::Status SkipValues(int64_t rows);
  void Advance(int32_t rows);

  // Unset: a list.
  std::optional<NpyFile> file_;
  std::vector<float> list_;
  bool is_single_row_ = false;
  int32_t sequence_count_ = 1;
  int32_t row_count_ = 1;
  int32_t width_ = 0;
  std::optional<v1::HiddenRows> hidden_;
  int32_t hidden_vocab_size_ = 0;
  int32_t next_sequence_ = 0;
  int32_t next_row_ = 0;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_LOGITS_ROWS_H_
