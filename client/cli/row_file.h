// The rows of one sequence in a file of numpy.save, in double, one after the other. Unlike LogitsRows, which sends rows
// as they are, it keeps every digit of float64.
//
//   ASSIGN_OR_RETURN(RowFile file, RowFile::Open("--logits", "rows.npy", /*dtype=*/"", environment.in));
//   for (int32_t t = 0; t < file.row_count(); ++t) ASSIGN_OR_RETURN(std::vector<double> row, file.NextRow());
//
// Memory: one row. A file that shrinks while it is read is an error of NextRow. One thread.
#ifndef LOGITD_CLIENT_CLI_ROW_FILE_H_
#define LOGITD_CLIENT_CLI_ROW_FILE_H_

#include <cstdint>
#include <istream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/logitd/npy_file.h"

namespace logitd::cli {

// As Limits.max_tokens. A comparison keeps some hundred bytes for each row, and its JSON as many again.
inline constexpr int64_t kMaxComparedRows = 1 << 17;
// Limits.max_vocab_size.
inline constexpr int64_t kMaxComparedVocabSize = 1 << 20;

class RowFile {
 public:
  // `path`: "-" is standard input. `flag` names it in errors. Shape: [V] is one row, [T, V] are T rows, V in
  // [1, kMaxComparedVocabSize], T in [1, kMaxComparedRows]. Errors: usage errors, of every other shape or type.
  static absl::StatusOr<RowFile> Open(const std::string& flag, const std::string& path, const std::string& dtype,
                                      std::istream& standard_in);

  int32_t row_count() const { return row_count_; }
  int32_t vocab_size() const { return vocab_size_; }
  // As numpy shows it: "(3, 5)".
  std::string ShowShape() const { return npy_.ShowShape(); }

  // The next row, checked: finite numbers and -inf, at least one of them finite. REQUIRES: one is left. Errors: a usage
  // error that names the row and the token (NON_FINITE_LOGIT, NO_FINITE_LOGIT), or that the file has become shorter.
  absl::StatusOr<std::vector<double>> NextRow();

  // An error about this file.
  absl::Status Error(std::string_view what, std::string_view bound) const { return npy_.Error(what, bound); }

 private:
  RowFile(std::string flag, std::string path, client::NpyFile npy)
      : flag_(std::move(flag)), path_(std::move(path)), npy_(std::move(npy)) {}

  std::string flag_;
  std::string path_;
  client::NpyFile npy_;
  int32_t row_count_ = 1;
  int32_t vocab_size_ = 0;
  int32_t next_row_ = 0;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ROW_FILE_H_
