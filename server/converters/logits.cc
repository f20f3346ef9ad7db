#include "server/converters/logits.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "core/errors.h"
#include "core/limits.h"
#include "core/row_values.h"
#include "core/status_macros.h"

namespace logitd::server {
namespace {

static_assert(std::endian::native == std::endian::little, "values on the wire are little endian");

size_t SizeOf(v1::LogitsDtype dtype) { return dtype == v1::LOGITS_DTYPE_F32 ? 4 : 2; }

// Where an element of a list is named.
std::string Indexed(const std::string& field, int index) { return field + "[" + std::to_string(index) + "]"; }

// The scales of a block of LIN16: one for each row; of any other type: none.
absl::Status CheckScales(const v1::LogitsBlock& block, const std::string& field) {
  const std::string max_field = field + ".linear_max";
  const std::string step_field = field + ".linear_step";
  const auto& maxima = block.linear_max();
  const auto& steps = block.linear_step();
  if (block.dtype() != v1::LOGITS_DTYPE_LIN16) {
    constexpr char kBound[] = "empty, but for LOGITS_DTYPE_LIN16";
    if (!maxima.empty()) return errors::OutOfRange(max_field, int64_t{maxima.size()}, kBound);
    if (!steps.empty()) return errors::OutOfRange(step_field, int64_t{steps.size()}, kBound);
    return absl::OkStatus();
  }
  constexpr char kUnit[] = "values (row_count)";
  if (maxima.size() != block.row_count()) {
    return errors::RowLengthMismatch(max_field, maxima.size(), block.row_count(), kUnit);
  }
  if (steps.size() != block.row_count()) {
    return errors::RowLengthMismatch(step_field, steps.size(), block.row_count(), kUnit);
  }
  for (int i = 0; i < maxima.size(); ++i) {
    if (IsLin16Scale(maxima[i], steps[i])) continue;
    if (!std::isfinite(maxima[i])) return errors::OutOfRange(Indexed(max_field, i), double{maxima[i]}, "finite");
    return errors::OutOfRange(Indexed(step_field, i), double{steps[i]},
                              ">= 0 and such that linear_max - 65534 * linear_step is finite");
  }
  return absl::OkStatus();
}

absl::Status CheckBlock(const v1::LogitsBlock& block, const std::string& field, int32_t vocab_size) {
  if (block.dtype() == v1::LOGITS_DTYPE_UNSPECIFIED) return errors::Required(field + ".dtype");
  if (block.row_count() < 1) return errors::OutOfRange(field + ".row_count", int64_t{block.row_count()}, ">= 1");
  if (block.row_count() > kMaxRowsPerMessage) {
    return errors::LimitExceeded(field + ".row_count", block.row_count(),
                                 "[1, " + std::to_string(kMaxRowsPerMessage) + "]", "max_rows_per_message");
  }
  if (block.width() != vocab_size) {
    return errors::RowLengthMismatch(field + ".width", block.width(), vocab_size, "values (vocab_size)");
  }
  return CheckScales(block, field);
}

// Row `index` of `block`, whose bytes these are.
LogitsView WidenRow(const v1::LogitsBlock& block, int32_t index, const char* bytes, std::vector<float>& buffer) {
  const v1::LogitsDtype dtype = block.dtype();
  const auto width = static_cast<size_t>(block.width());
  if (dtype == v1::LOGITS_DTYPE_F32 && reinterpret_cast<uintptr_t>(bytes) % alignof(float) == 0) {
    return {reinterpret_cast<const float*>(bytes), width};
  }
  buffer.resize(width);
  if (dtype == v1::LOGITS_DTYPE_F32) {
    std::memcpy(buffer.data(), bytes, width * sizeof(float));
    return buffer;
  }
  if (dtype == v1::LOGITS_DTYPE_F16) {
    WidenF16(bytes, buffer);
  } else if (dtype == v1::LOGITS_DTYPE_BF16) {
    WidenBf16(bytes, buffer);
  } else {
    WidenLin16(bytes, block.linear_max(index), block.linear_step(index), buffer);
  }
  return buffer;
}

}  // namespace

absl::StatusOr<WireRows> WireRows::Of(const google::protobuf::RepeatedPtrField<v1::LogitsBlock>& blocks,
                                      std::string_view payload, int32_t vocab_size) {
  WireRows rows;
  rows.vocab_size_ = vocab_size;
  int64_t offset = 0;
  for (int i = 0; i < blocks.size(); ++i) {
    const v1::LogitsBlock& block = blocks[i];
    const std::string field = "blocks[" + std::to_string(i) + "]";
    RETURN_IF_ERROR(CheckBlock(block, field, vocab_size));
    if (rows.row_count_ + block.row_count() > kMaxRowsPerMessage) {
      return errors::LimitExceeded("blocks", rows.row_count_ + block.row_count(),
                                   "[0, " + std::to_string(kMaxRowsPerMessage) + "] rows", "max_rows_per_message");
    }
    const int64_t bytes = int64_t{block.row_count()} * vocab_size * static_cast<int64_t>(SizeOf(block.dtype()));
    // The pointer is used only once the length of the whole payload has been checked.
    rows.blocks_.push_back({&block, rows.row_count_, payload.data() + offset});
    if (offset + bytes > static_cast<int64_t>(payload.size())) {
      return errors::RowLengthMismatch("payload", static_cast<int64_t>(payload.size()), offset + bytes,
                                       "bytes or more");
    }
    offset += bytes;
    rows.row_count_ += block.row_count();
  }
  if (offset != static_cast<int64_t>(payload.size())) {
    return errors::RowLengthMismatch("payload", static_cast<int64_t>(payload.size()), offset, "bytes");
  }
  return rows;
}

LogitsView WireRows::Row(int32_t index, std::vector<float>& buffer) const {
  size_t b = 0;
  while (index >= blocks_[b].first_row + blocks_[b].message->row_count()) ++b;
  const Block& block = blocks_[b];
  const int32_t row = index - block.first_row;
  const size_t row_bytes = static_cast<size_t>(vocab_size_) * SizeOf(block.message->dtype());
  return WidenRow(*block.message, row, block.bytes + static_cast<size_t>(row) * row_bytes, buffer);
}

absl::StatusOr<LogitsView> SingleRow(const v1::Logits& logits, std::vector<float>& buffer) {
  if (logits.float_values_size() > 0) {
    if (!logits.values().empty()) return errors::Exclusive("logits.values", "logits.float_values");
    if (logits.has_block()) return errors::Exclusive("logits.block", "logits.float_values");
    if (logits.float_values_size() > kMaxVocabSize) {
      return errors::LimitExceeded("logits.float_values", logits.float_values_size(),
                                   "[1, " + std::to_string(kMaxVocabSize) + "]", "max_vocab_size");
    }
    return LogitsView(logits.float_values().data(), static_cast<size_t>(logits.float_values_size()));
  }
  if (!logits.has_block()) return errors::Required("logits.float_values");
  const v1::LogitsBlock& block = logits.block();
  if (block.width() < 1) return errors::OutOfRange("logits.block.width", int64_t{block.width()}, ">= 1");
  if (block.width() > kMaxVocabSize) {
    return errors::LimitExceeded("logits.block.width", block.width(), "[1, " + std::to_string(kMaxVocabSize) + "]",
                                 "max_vocab_size");
  }
  RETURN_IF_ERROR(CheckBlock(block, "logits.block", block.width()));
  if (block.row_count() != 1) return errors::OutOfRange("logits.block.row_count", int64_t{block.row_count()}, "1");
  const int64_t bytes = int64_t{block.width()} * static_cast<int64_t>(SizeOf(block.dtype()));
  if (static_cast<int64_t>(logits.values().size()) != bytes) {
    return errors::RowLengthMismatch("logits.values", static_cast<int64_t>(logits.values().size()), bytes, "bytes");
  }
  return WidenRow(block, 0, logits.values().data(), buffer);
}

}  // namespace logitd::server
