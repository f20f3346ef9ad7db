#include "client/cli/logits_file.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace logitd::cli {
namespace {

// Far below the cap of a message (64 MiB), and enough for the cost of a message not to count.
constexpr int64_t kBytesPerMessage = int64_t{4} << 20;
// Limits.max_rows_per_message.
constexpr int64_t kRowsPerMessage = 1024;
// The protocol's own bound (Limits.max_vocab_size): a row of so many values is what must fit the memory here.
constexpr int64_t kMaxVocabSize = 1 << 20;

}  // namespace

Flag LogitsFlag() {
  return {"--logits", "FILE",
          "rows of logits, numpy.save'd as float32 or float16, [T, V] or [B, T, V];\n- reads standard input"};
}

Flag PromptTokensFlag() {
  return {"--prompt-tokens", "IDS", "what came before the first row, for biases and penalties"};
}

absl::StatusOr<LogitsFile> LogitsFile::Open(const Arguments& arguments, Environment& environment) {
  if (!arguments.Has("--logits")) return UsageError("--logits is missing: --logits FILE.npy");
  absl::StatusOr<NpyFile> npy =
      NpyFile::Open("--logits", arguments.Value("--logits"), environment.in, NpyContent::kLogits);
  if (!npy.ok()) return npy.status();
  LogitsFile file(*std::move(npy));
  const std::vector<int64_t>& shape = file.file_.shape();
  if (shape.size() != 2 && shape.size() != 3) {
    return file.Error(absl::StrCat("its shape must be [T, V] or [B, T, V], got ", file.file_.ShowShape()));
  }
  for (const int64_t size : shape) {
    if (size < 1) return file.Error(absl::StrCat("its shape is ", file.file_.ShowShape(), ": it holds no rows"));
    if (size > std::numeric_limits<int32_t>::max()) {
      return file.Error(absl::StrCat("each dimension must be below 2^31, got ", file.file_.ShowShape()));
    }
  }
  if (shape.back() > kMaxVocabSize) {
    return file.Error(absl::StrCat("a row must have at most ", kMaxVocabSize, " values, got ", shape.back()));
  }
  file.vocab_size_ = static_cast<int32_t>(shape.back());
  file.row_count_ = static_cast<int32_t>(shape[shape.size() - 2]);
  if (shape.size() == 3) file.sequence_count_ = static_cast<int32_t>(shape[0]);
  return file;
}

absl::StatusOr<int32_t> LogitsFile::ReadRows(v1::LogitsBlock& block, std::string& payload) {
  const int64_t row_bytes = vocab_size_ * file_.value_bytes();
  const int64_t at_once = std::clamp<int64_t>(kBytesPerMessage / row_bytes, 1, kRowsPerMessage);
  const auto rows = static_cast<int32_t>(std::min<int64_t>(at_once, row_count_ - next_row_));
  if (absl::Status status = file_.Read(int64_t{rows} * vocab_size_, payload); !status.ok()) return status;
  Describe(rows, block);
  Advance(rows);
  return rows;
}

absl::Status LogitsFile::ReadRow(int32_t sequence, int32_t row, v1::LogitsBlock& block, std::string& payload) {
  const int64_t rows_before = int64_t{sequence} * row_count_ + row;
  if (absl::Status status = file_.Skip(rows_before * vocab_size_); !status.ok()) return status;
  if (absl::Status status = file_.Read(vocab_size_, payload); !status.ok()) return status;
  Describe(1, block);
  return absl::OkStatus();
}

void LogitsFile::Describe(int32_t rows, v1::LogitsBlock& block) const {
  block.set_dtype(file_.type() == NpyType::kF16 ? v1::LOGITS_DTYPE_F16 : v1::LOGITS_DTYPE_F32);
  block.set_row_count(rows);
  block.set_width(vocab_size_);
}

absl::Status LogitsFile::SkipSequence(int32_t sequence) {
  if (next_sequence_ != sequence) return absl::OkStatus();
  const int32_t rows = row_count_ - next_row_;
  if (absl::Status status = file_.Skip(int64_t{rows} * vocab_size_); !status.ok()) return status;
  Advance(rows);
  return absl::OkStatus();
}

void LogitsFile::Advance(int32_t rows) {
  next_row_ += rows;
  if (next_row_ < row_count_) return;
  next_row_ = 0;
  ++next_sequence_;
}

}  // namespace logitd::cli
