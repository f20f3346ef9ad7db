// The rows of `--logits FILE.npy`, in pieces that fit a message: what `score --logits` and `decode` have in common.
#ifndef LOGITD_CLIENT_CLI_LOGITS_FILE_H_
#define LOGITD_CLIENT_CLI_LOGITS_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "client/cli/npy_file.h"
#include "logitd/v1/logits.pb.h"

namespace logitd::cli {

// --logits.
Flag LogitsFlag();
// --prompt-tokens: what came before the rows, for stages that look at it.
Flag PromptTokensFlag();

// A file of shape [T, V], one sequence, or [B, T, V], B sequences of T rows. Read front to back, sequence after
// sequence. One thread.
class LogitsFile {
 public:
  // Errors: usage errors; --logits is missing, or the file is not of such a shape.
  static absl::StatusOr<LogitsFile> Open(const Arguments& arguments, Environment& environment);

  // All of them are in [1, 2^31).
  int32_t sequence_count() const { return sequence_count_; }
  // Rows of each sequence.
  int32_t row_count() const { return row_count_; }
  int32_t vocab_size() const { return vocab_size_; }

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

  // A usage error about the file.
  absl::Status Error(std::string_view what) const { return file_.Error(what); }

 private:
  explicit LogitsFile(NpyFile file) : file_(std::move(file)) {}

  void Describe(int32_t rows, v1::LogitsBlock& block) const;
  void Advance(int32_t rows);

  NpyFile file_;
  int32_t sequence_count_ = 1;
  int32_t row_count_ = 0;
  int32_t vocab_size_ = 0;
  int32_t next_sequence_ = 0;
  int32_t next_row_ = 0;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_LOGITS_FILE_H_
