#include "client/logitd/logits_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace logitd::client {
namespace {

// Far below the cap of a message (64 MiB), and large enough that the overhead of a message does not count.
constexpr int64_t kBytesPerMessage = int64_t{4} << 20;
// Limits.max_rows_per_message.
constexpr int64_t kRowsPerMessage = 1024;
// The protocol's own bound (Limits.max_vocab_size), so that a row fits the memory here.
constexpr int64_t kMaxVocabSize = 1 << 20;

constexpr char kShapes[] = "[V], [T, V] or [B, T, V]";

// The values of a float64 array as f32, each the nearest. Unset: one of them is finite, and f32 cannot hold it.
std::optional<std::string> Rounded(const std::string& doubles) {
  std::string out(doubles.size() / 2, '\0');
  for (size_t i = 0; i < doubles.size() / sizeof(double); ++i) {
    double value = 0;
    std::memcpy(&value, doubles.data() + i * sizeof(value), sizeof(value));
    const auto narrow = static_cast<float>(value);
    if (std::isinf(narrow) && !std::isinf(value)) return std::nullopt;
    std::memcpy(out.data() + i * sizeof(narrow), &narrow, sizeof(narrow));
  }
  return out;
}

v1::LogitsDtype DtypeOf(NpyType type) {
  if (type == NpyType::kF16) return v1::LOGITS_DTYPE_F16;
  return type == NpyType::kBf16 ? v1::LOGITS_DTYPE_BF16 : v1::LOGITS_DTYPE_F32;
}

}  // namespace

absl::StatusOr<LogitsRows> LogitsRows::Of(NpyFile file) {
  LogitsRows rows;
  rows.file_.emplace(std::move(file));
  RETURN_IF_ERROR(rows.TakeShape());
  return rows;
}

LogitsRows LogitsRows::Of(std::vector<float> list) {
  LogitsRows rows;
  rows.width_ = static_cast<int32_t>(list.size());
  rows.is_single_row_ = true;
  rows.list_ = std::move(list);
  return rows;
}

absl::Status LogitsRows::TakeShape() {
  const std::vector<int64_t>& shape = file_->shape();
  if (shape.empty() || shape.size() > 3) {
    return file_->Error(absl::StrCat("its shape must be ", kShapes, ", got ", file_->ShowShape()), kShapes);
  }
  for (const int64_t size : shape) {
    if (size < 1) return file_->Error(absl::StrCat("its shape is ", file_->ShowShape(), ": it holds no rows"));
    if (size > std::numeric_limits<int32_t>::max()) {
      return file_->Error(absl::StrCat("each dimension must be below 2^31, got ", file_->ShowShape()), "[1, 2^31)");
    }
  }
  if (shape.back() > kMaxVocabSize) {
    return file_->Error(absl::StrCat("a row must have at most ", kMaxVocabSize, " values, got ", shape.back()),
                        absl::StrCat("[1, ", kMaxVocabSize, "]"));
  }
  width_ = static_cast<int32_t>(shape.back());
  is_single_row_ = shape.size() == 1;
  if (shape.size() > 1) row_count_ = static_cast<int32_t>(shape[shape.size() - 2]);
  if (shape.size() == 3) sequence_count_ = static_cast<int32_t>(shape[0]);
  return absl::OkStatus();
}

void LogitsRows::SetHidden(v1::HiddenRows hidden, int32_t vocab_size) {
  hidden_ = std::move(hidden);
  hidden_vocab_size_ = vocab_size;
}

absl::StatusOr<int32_t> LogitsRows::ReadRows(v1::LogitsBlock& block, std::string& payload) {
  const int64_t row_bytes = width_ * (is_list() ? int64_t{sizeof(float)} : file_->value_bytes());
  const int64_t at_once = std::clamp<int64_t>(kBytesPerMessage / row_bytes, 1, kRowsPerMessage);
  const auto rows = static_cast<int32_t>(std::min<int64_t>(at_once, row_count_ - next_row_));
  RETURN_IF_ERROR(ReadValues(rows, block, payload));
  Advance(rows);
  return rows;
}

absl::Status LogitsRows::ReadRow(int32_t sequence, int32_t row, v1::LogitsBlock& block, std::string& payload) {
  RETURN_IF_ERROR(SkipValues(int64_t{sequence} * row_count_ + row));
  return ReadValues(1, block, payload);
}

absl::Status LogitsRows::ReadValues(int32_t rows, v1::LogitsBlock& block, std::string& payload) {
  block.set_dtype(is_list() ? v1::LOGITS_DTYPE_F32 : DtypeOf(file_->type()));
  block.set_row_count(rows);
  block.set_width(width_);
  if (hidden_) *block.mutable_hidden() = *hidden_;
  if (is_list()) {
    payload.assign(reinterpret_cast<const char*>(list_.data()), list_.size() * sizeof(float));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(file_->Read(int64_t{rows} * width_, payload));
  if (file_->type() != NpyType::kF64) return absl::OkStatus();
  std::optional<std::string> rounded = Rounded(payload);
  if (!rounded) return file_->Error("it holds a finite value beyond 3.4028235e38, which f32 cannot hold");
  payload = *std::move(rounded);
  return absl::OkStatus();
}

absl::Status LogitsRows::SkipValues(int64_t rows) { return is_list() ? absl::OkStatus() : file_->Skip(rows * width_); }

absl::Status LogitsRows::SkipSequence(int32_t sequence) {
  if (next_sequence_ != sequence) return absl::OkStatus();
  const int32_t rows = row_count_ - next_row_;
  RETURN_IF_ERROR(SkipValues(rows));
  Advance(rows);
  return absl::OkStatus();
}

void LogitsRows::Advance(int32_t rows) {
  next_row_ += rows;
  if (next_row_ < row_count_) return;
  next_row_ = 0;
  ++next_sequence_;
}

}  // namespace logitd::client
