#include "client/cli/row_file.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/arguments.h"
#include "client/comparison/row_divergence.h"
#include "client/comparison/row_values.h"
#include "client/logitd/client_error.h"
#include "logitd/v1/error.pb.h"

namespace logitd::cli {
namespace {

constexpr char kShapes[] = "[V] or [T, V]";

comparison::ValueType ValueTypeOf(client::NpyType type) {
  switch (type) {
    case client::NpyType::kF16:
      return comparison::ValueType::kF16;
    case client::NpyType::kBf16:
      return comparison::ValueType::kBf16;
    case client::NpyType::kF64:
      return comparison::ValueType::kF64;
    default:
      return comparison::ValueType::kF32;
  }
}

// A row that is no row of logits.
absl::Status FaultError(const std::string& flag, const std::string& path, int32_t row,
                        const comparison::RowFault& fault) {
  v1::Error error;
  error.set_field(flag);
  error.set_row(row);
  if (fault.token_id) {
    error.set_token_id(*fault.token_id);
    error.set_reason(v1::ERROR_REASON_NON_FINITE_LOGIT);
    error.set_value(absl::StrCat(fault.value));
    error.set_bound("-inf, or finite and at most 3.4028235e38 in size");
    error.set_message(absl::StrCat(flag, " ", QuotedValue(path), ": row ", row, ", token ", *fault.token_id,
                                   " must be ", error.bound(), ", got ", fault.value));
  } else {
    error.set_reason(v1::ERROR_REASON_NO_FINITE_LOGIT);
    error.set_value("-inf");
    error.set_bound("at least one finite value");
    error.set_message(
        absl::StrCat(flag, " ", QuotedValue(path), ": row ", row, " must have ", error.bound(), ", got -inf alone"));
  }
  return client::InputError(std::move(error));
}

}  // namespace

absl::StatusOr<RowFile> RowFile::Open(const std::string& flag, const std::string& path, const std::string& dtype,
                                      std::istream& standard_in) {
  ASSIGN_OR_RETURN(client::NpyFile npy,
                   client::NpyFile::Open({flag, path, client::NpyContent::kFloats, dtype}, standard_in));
  RowFile file(flag, path, std::move(npy));
  const std::vector<int64_t>& shape = file.npy_.shape();
  if (shape.empty() || shape.size() > 2) {
    return file.Error(absl::StrCat("its shape must be ", kShapes, ", got ", file.ShowShape()), kShapes);
  }
  const int64_t rows = shape.size() == 2 ? shape[0] : 1;
  if (rows < 1 || rows > kMaxComparedRows) {
    const std::string bound = absl::StrCat("[1, ", kMaxComparedRows, "]");
    return file.Error(absl::StrCat("its number of rows must be in ", bound, ", got ", rows), bound);
  }
  if (shape.back() < 1 || shape.back() > kMaxComparedVocabSize) {
    const std::string bound = absl::StrCat("[1, ", kMaxComparedVocabSize, "]");
    return file.Error(absl::StrCat("the values of a row must be in ", bound, ", got ", shape.back()), bound);
  }
  file.row_count_ = static_cast<int32_t>(rows);
  file.vocab_size_ = static_cast<int32_t>(shape.back());
  return file;
}

absl::StatusOr<std::vector<double>> RowFile::NextRow() {
  std::string bytes;
  RETURN_IF_ERROR(npy_.Read(vocab_size_, bytes));
  std::vector<double> row = comparison::ReadValues(ValueTypeOf(npy_.type()), bytes);
  const int32_t number = next_row_++;
  if (const std::optional<comparison::RowFault> fault = comparison::FaultOf(row)) {
    return FaultError(flag_, path_, number, *fault);
  }
  return row;
}

}  // namespace logitd::cli
