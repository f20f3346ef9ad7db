#include "client/cli/logits_input.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace logitd::cli {
namespace {

// Far below the cap of a message (64 MiB), and enough for the cost of a message not to count.
constexpr int64_t kBytesPerMessage = int64_t{4} << 20;
// Limits.max_rows_per_message.
constexpr int64_t kRowsPerMessage = 1024;
// The protocol's own bound (Limits.max_vocab_size): a row of so many values is what must fit the memory here.
constexpr int64_t kMaxVocabSize = 1 << 20;

constexpr char kMissing[] = "--logits is missing: --logits 6,3,0.5 or --logits FILE.npy";
constexpr char kExpected[] = "numbers separated by commas (6,3,0.5)";
constexpr char kShapes[] = "[V], [T, V] or [B, T, V]";

std::vector<std::string> PartsOf(const std::string& text) { return absl::StrSplit(text, ','); }

// Whether `text` is meant as a list: it begins with a number (a file of such a name is ./1).
bool IsList(const std::string& text) {
  const std::vector<std::string> parts = PartsOf(text);
  double value = 0;
  return absl::SimpleAtod(parts[0], &value);
}

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

std::vector<Flag> LogitsFlags() {
  return {{"--logits", "X,Y,...|FILE",
           "one row as numbers, one per token id, or rows that numpy.save wrote, float32 or float16, [V], [T, V] or "
           "[B, T, V]; - reads such a file from standard input; -inf excludes a token"},
          {"--dtype", "TYPE",
           "bf16: the file holds bfloat16, which numpy saves as '<V2' or uint16; f32: round its float64 values"}};
}

Flag PromptTokensFlag() {
  return {"--prompt-tokens", "IDS", "what came before the first row, for biases and penalties"};
}

absl::StatusOr<LogitsInput> LogitsInput::Open(const Arguments& arguments, Environment& environment) {
  if (!arguments.Has("--logits")) return UsageError("--logits", kMissing);
  const std::string& text = arguments.Value("--logits");
  std::string dtype;
  if (arguments.Has("--dtype")) {
    dtype = arguments.Value("--dtype");
    if (dtype != "bf16" && dtype != "f16" && dtype != "f32") return UsageError("--dtype", dtype, "bf16, f16 or f32");
  }
  LogitsInput input;
  if (text.empty() || IsList(text)) {
    if (!dtype.empty()) return UsageError("--dtype", "--dtype goes with a file: --logits FILE.npy");
    if (absl::Status status = input.TakeList(text); !status.ok()) return status;
    return input;
  }
  absl::StatusOr<NpyFile> npy = NpyFile::Open({"--logits", text, NpyContent::kLogits, dtype}, environment.in);
  if (!npy.ok()) return npy.status();
  input.file_.emplace(*std::move(npy));
  if (absl::Status status = input.TakeShape(); !status.ok()) return status;
  return input;
}

absl::Status LogitsInput::TakeList(const std::string& text) {
  if (text.empty()) return UsageError("--logits", text, absl::StrCat(kExpected, ", or the name of a file"));
  for (const std::string& part : PartsOf(text)) {
    double value = 0;
    if (!absl::SimpleAtod(part, &value)) return UsageError("--logits", part, kExpected);
    // Finite text that f32 cannot hold would arrive as an infinity that nobody wrote. nan and inf are sent, for the
    // server to refuse.
    const bool is_written_infinite = part.find_first_of("iI") != std::string::npos;
    if (std::fabs(value) > std::numeric_limits<float>::max() && !std::isnan(value) && !is_written_infinite) {
      return UsageError("--logits", part, "f32 numbers, at most 3.4028235e38 in size");
    }
    list_.push_back(static_cast<float>(value));
  }
  vocab_size_ = static_cast<int32_t>(list_.size());
  is_single_row_ = true;
  return absl::OkStatus();
}

absl::Status LogitsInput::TakeShape() {
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
  vocab_size_ = static_cast<int32_t>(shape.back());
  is_single_row_ = shape.size() == 1;
  if (shape.size() > 1) row_count_ = static_cast<int32_t>(shape[shape.size() - 2]);
  if (shape.size() == 3) sequence_count_ = static_cast<int32_t>(shape[0]);
  return absl::OkStatus();
}

absl::StatusOr<int32_t> LogitsInput::ReadRows(v1::LogitsBlock& block, std::string& payload) {
  const int64_t row_bytes = vocab_size_ * (is_list() ? int64_t{sizeof(float)} : file_->value_bytes());
  const int64_t at_once = std::clamp<int64_t>(kBytesPerMessage / row_bytes, 1, kRowsPerMessage);
  const auto rows = static_cast<int32_t>(std::min<int64_t>(at_once, row_count_ - next_row_));
  if (absl::Status status = ReadValues(rows, block, payload); !status.ok()) return status;
  Advance(rows);
  return rows;
}

absl::Status LogitsInput::ReadRow(int32_t sequence, int32_t row, v1::LogitsBlock& block, std::string& payload) {
  if (absl::Status status = SkipValues(int64_t{sequence} * row_count_ + row); !status.ok()) return status;
  return ReadValues(1, block, payload);
}

absl::Status LogitsInput::ReadValues(int32_t rows, v1::LogitsBlock& block, std::string& payload) {
  block.set_dtype(is_list() ? v1::LOGITS_DTYPE_F32 : DtypeOf(file_->type()));
  block.set_row_count(rows);
  block.set_width(vocab_size_);
  if (is_list()) {
    payload.assign(reinterpret_cast<const char*>(list_.data()), list_.size() * sizeof(float));
    return absl::OkStatus();
  }
  if (absl::Status status = file_->Read(int64_t{rows} * vocab_size_, payload); !status.ok()) return status;
  if (file_->type() != NpyType::kF64) return absl::OkStatus();
  std::optional<std::string> rounded = Rounded(payload);
  if (!rounded) return file_->Error("it holds a finite value beyond 3.4028235e38, which f32 cannot hold");
  payload = *std::move(rounded);
  return absl::OkStatus();
}

absl::Status LogitsInput::SkipValues(int64_t rows) {
  return is_list() ? absl::OkStatus() : file_->Skip(rows * vocab_size_);
}

absl::Status LogitsInput::SkipSequence(int32_t sequence) {
  if (next_sequence_ != sequence) return absl::OkStatus();
  const int32_t rows = row_count_ - next_row_;
  if (absl::Status status = SkipValues(rows); !status.ok()) return status;
  Advance(rows);
  return absl::OkStatus();
}

void LogitsInput::Advance(int32_t rows) {
  next_row_ += rows;
  if (next_row_ < row_count_) return;
  next_row_ = 0;
  ++next_sequence_;
}

}  // namespace logitd::cli
