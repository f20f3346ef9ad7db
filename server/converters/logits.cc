#include "server/converters/logits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/widening.h"
#include "server/converters/wire.h"

namespace logitd::server {
namespace {

static_assert(std::endian::native == std::endian::little, "values on the wire are little endian");

size_t SizeOf(v1::LogitsDtype dtype) { return dtype == v1::LOGITS_DTYPE_F32 ? 4 : 2; }

// Checks the scales of a block: one for each row of LIN16, none for any other type.
absl::Status CheckScales(const v1::LogitsBlock& block, const std::string& field) {
  const std::string max_field = field + ".linear_max";
  const std::string step_field = field + ".linear_step";
  const auto& maxima = block.linear_max();
  const auto& steps = block.linear_step();
  if (block.dtype() != v1::LOGITS_DTYPE_LIN16) {
    constexpr char kBound[] = "empty except for LOGITS_DTYPE_LIN16";
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
    if (!std::isfinite(maxima[i])) return errors::OutOfRange(Element(max_field, i), double{maxima[i]}, "finite");
    return errors::OutOfRange(Element(step_field, i), double{steps[i]},
                              ">= 0 and such that linear_max - 65534 * linear_step is finite");
  }
  return absl::OkStatus();
}

// Checks the rest of each row of a sparse block: one sum, or none if the rest is excluded.
absl::Status CheckTails(const v1::LogitsBlock& block, const std::string& field, bool takes_tails) {
  const v1::SparseRows& sparse = block.sparse();
  const bool has_tails = sparse.rest() == v1::SPARSE_REST_TAIL;
  if (has_tails && !takes_tails) {
    return errors::OutOfRange(field + ".rest", "SPARSE_REST_TAIL", "SPARSE_REST_EXCLUDED except in rows of Decode");
  }
  const struct {
    const char* name;
    const google::protobuf::RepeatedField<double>& sums;
    bool is_required;
  } lists[] = {{".rest_log_sum_exps", sparse.rest_log_sum_exps(), true},
               {".rest_log_sum_exps_at_temperature", sparse.rest_log_sum_exps_at_temperature(), false}};
  for (const auto& [name, sums, is_required] : lists) {
    if (!has_tails && !sums.empty()) {
      return errors::OutOfRange(field + name, int64_t{sums.size()}, "empty except for SPARSE_REST_TAIL");
    }
    if (has_tails && sums.size() != block.row_count() && (is_required || !sums.empty())) {
      return errors::RowLengthMismatch(field + name, sums.size(), block.row_count(), "values (row_count)");
    }
    for (int i = 0; i < sums.size(); ++i) {
      if (!std::isfinite(sums[i]) && !(sums[i] < 0)) {
        return errors::OutOfRange(Element(field + name, i), sums[i], "finite or -inf");
      }
    }
  }
  return absl::OkStatus();
}

// Checks the parts of a sparse block that hold for all its rows.
absl::Status CheckSparse(const v1::LogitsBlock& block, const std::string& field, int32_t vocab_size, bool takes_tails) {
  if (block.width() < 1 || block.width() > vocab_size) {
    return errors::OutOfRange(field + ".width", int64_t{block.width()}, "[1, " + std::to_string(vocab_size) + "]");
  }
  const v1::SparseRows& sparse = block.sparse();
  if (sparse.rest() == v1::SPARSE_REST_UNSPECIFIED) return errors::Required(field + ".sparse.rest");
  RETURN_IF_ERROR(CheckTails(block, field + ".sparse", takes_tails));
  const auto& ids = sparse.shared_token_ids();
  if (ids.empty()) return absl::OkStatus();
  const std::string ids_field = field + ".sparse.shared_token_ids";
  if (ids.size() != block.width())
    return errors::RowLengthMismatch(ids_field, ids.size(), block.width(), "ids (width)");
  return CountUsedSlots(Ids(ids), ids_field, vocab_size).status();
}

// Checks what all kinds of blocks have.
absl::Status CheckRowCount(const v1::LogitsBlock& block, const std::string& field) {
  if (block.dtype() == v1::LOGITS_DTYPE_UNSPECIFIED) return errors::Required(field + ".dtype");
  if (block.row_count() < 1) return errors::OutOfRange(field + ".row_count", int64_t{block.row_count()}, ">= 1");
  if (block.row_count() > kMaxRowsPerMessage) {
    return errors::AboveLimit(field + ".row_count", block.row_count(), kMaxRowsPerMessage, 1);
  }
  return absl::OkStatus();
}

absl::Status CheckBlock(const v1::LogitsBlock& block, const std::string& field, int32_t vocab_size,
                        bool takes_tails = false) {
  RETURN_IF_ERROR(CheckRowCount(block, field));
  if (block.has_sparse()) {
    RETURN_IF_ERROR(CheckSparse(block, field, vocab_size, takes_tails));
  } else if (block.width() != vocab_size) {
    return errors::RowLengthMismatch(field + ".width", block.width(), vocab_size, "values (vocab_size)");
  }
  return CheckScales(block, field);
}

// What the subsets of all blocks of one message may still take.
struct SubsetRoom {
  int64_t ids = kMaxVocabSize;
  // Of columns that are packed anew; those of further subsets are computed where the head has them.
  size_t packed_bytes = HeadColumns::kMaxPackedBytes;
};

// The columns of a subset. Errors: LIMIT_EXCEEDED, and those of CountUsedSlots.
absl::StatusOr<HeadColumns> SelectColumns(const SoftmaxHead& head, std::span<const TokenId> ids,
                                          const std::string& field, SubsetRoom& room) {
  room.ids -= std::ssize(ids);
  if (room.ids < 0) {
    return errors::LimitExceeded(field, kMaxVocabSize - room.ids,
                                 "at most " + std::to_string(kMaxVocabSize) + " ids in all blocks of a message",
                                 kMaxVocabSize.name);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) return errors::TokenIdOutOfRange(Element(field, i), ids[i], head.vocab_size());
  }
  RETURN_IF_ERROR(CountUsedSlots(ids, field, head.vocab_size()).status());
  constexpr size_t kPanelColumns = 16;
  const size_t bytes = (ids.size() + kPanelColumns - 1) / kPanelColumns * kPanelColumns *
                       static_cast<size_t>(head.hidden_size()) * sizeof(float);
  const bool is_packed = bytes <= room.packed_bytes;
  if (is_packed) room.packed_bytes -= bytes;
  return head.columns().Select(ids, is_packed ? HeadColumns::kMaxPackedBytes : 0);
}

// Checks a block of hidden states. `vocab_size` 0: the head decides.
absl::StatusOr<HiddenBlock> CheckHiddenBlock(const v1::LogitsBlock& block, const std::string& field, int32_t vocab_size,
                                             const Heads& heads, SubsetRoom& room) {
  RETURN_IF_ERROR(CheckRowCount(block, field));
  if (block.has_sparse()) return errors::Exclusive(field + ".hidden", field + ".sparse");
  if (block.dtype() == v1::LOGITS_DTYPE_LIN16) {
    return errors::OutOfRange(field + ".dtype", "LOGITS_DTYPE_LIN16", "F32, F16 or BF16 for hidden states");
  }
  RETURN_IF_ERROR(CheckScales(block, field));
  const v1::HiddenRows& hidden = block.hidden();
  ASSIGN_OR_RETURN(const NamedHead* head, heads.Find(hidden.head(), field + ".hidden.head"));
  RETURN_IF_ERROR(
      CheckHidden(*head, field + ".width", block.width(),
                  "rows [" + std::to_string(block.row_count()) + ", " + std::to_string(block.width()) + "]"));
  if (vocab_size != 0) RETURN_IF_ERROR(CheckHeadVocabulary(*head, field + ".hidden.head", vocab_size));
  RETURN_IF_ERROR(CheckNorm(*head, hidden.before_output_norm(), field + ".hidden.before_output_norm"));
  const OutputNorm* norm = hidden.before_output_norm() ? head->head->output_norm() : nullptr;
  const std::span<const TokenId> ids = Ids(hidden.token_ids());
  if (ids.empty()) return HiddenBlock{head, head->head->columns(), {}, norm};
  ASSIGN_OR_RETURN(HeadColumns columns, SelectColumns(*head->head, ids, field + ".hidden.token_ids", room));
  return HiddenBlock{head, std::move(columns), ids, norm};
}

bool HasIdsInPayload(const v1::LogitsBlock& block) {
  return block.has_sparse() && block.sparse().shared_token_ids().empty();
}

// Bytes of a checked block with `value_bytes` for each value and `id_bytes` for each id: at most 2^10 rows of 2^20
// slots of 16 bytes.
int64_t ByteSize(const v1::LogitsBlock& block, size_t value_bytes, size_t id_bytes = sizeof(TokenId)) {
  const size_t slot_bytes = value_bytes + (HasIdsInPayload(block) ? id_bytes : 0);
  return int64_t{block.row_count()} * block.width() * static_cast<int64_t>(slot_bytes);
}

int64_t ByteSize(const v1::LogitsBlock& block) { return ByteSize(block, SizeOf(block.dtype())); }

// The error of a `field` with `size` bytes instead of the `expected` ones of `blocks`. It guesses the type of the
// bytes, because numpy's defaults are float64 and int64.
absl::Status PayloadMismatch(std::string_view field, int64_t size, int64_t expected,
                             std::span<const v1::LogitsBlock* const> blocks) {
  ErrorDetail detail = DetailOf(errors::RowLengthMismatch(field, size, expected, "bytes"));
  const auto size_with = [&blocks](size_t value_bytes, size_t id_bytes) {
    int64_t bytes = 0;
    for (const v1::LogitsBlock* block : blocks) bytes += ByteSize(*block, value_bytes, id_bytes);
    return bytes;
  };
  std::string guesses;
  const auto guess = [&](int64_t bytes, const char* what) {
    if (bytes == size) guesses += (guesses.empty() ? "" : ", or ") + std::string(what);
  };
  const bool is_one_type = std::all_of(blocks.begin(), blocks.end(), [&blocks](const v1::LogitsBlock* block) {
    return SizeOf(block->dtype()) == SizeOf(blocks[0]->dtype());
  });
  if (!is_one_type) return ToStatus(detail);
  const size_t declared = SizeOf(blocks[0]->dtype());
  if (declared != 2) guess(size_with(2, sizeof(TokenId)), "the values float16 or bfloat16");
  if (declared != 4) guess(size_with(4, sizeof(TokenId)), "the values float32");
  guess(size_with(8, sizeof(TokenId)), "the values float64");
  if (std::any_of(blocks.begin(), blocks.end(), [](const v1::LogitsBlock* block) { return HasIdsInPayload(*block); })) {
    guess(size_with(declared, sizeof(int64_t)), "the ids int64");
  }
  if (guesses.empty()) return ToStatus(detail);
  detail.message += ": are " + guesses + "? ";
  detail.message += declared == 4 ? "They are declared as f32" : "They are declared as 16 bits each";
  if (guesses.find("ids") != std::string::npos) detail.message += ", with ids of 32 bits";
  return ToStatus(detail);
}

// The parts of a checked block, whose first byte is `bytes`. REQUIRES: ByteSize(block) bytes are there.
BlockBytes PartsOf(const v1::LogitsBlock& block, const char* bytes) {
  BlockBytes parts{&block, bytes, nullptr};
  if (HasIdsInPayload(block)) {
    parts.ids = bytes + static_cast<size_t>(block.row_count()) * block.width() * SizeOf(block.dtype());
  } else if (block.has_sparse()) {
    parts.ids = reinterpret_cast<const char*>(block.sparse().shared_token_ids().data());
  }
  return parts;
}

// The `width` values of row `index`.
std::span<const float> ValuesOf(const BlockBytes& parts, int32_t index, std::vector<float>& buffer) {
  const v1::LogitsBlock& block = *parts.message;
  const v1::LogitsDtype dtype = block.dtype();
  const auto width = static_cast<size_t>(block.width());
  const char* bytes = parts.values + static_cast<size_t>(index) * width * SizeOf(dtype);
  if (dtype == v1::LOGITS_DTYPE_F32 && reinterpret_cast<uintptr_t>(bytes) % alignof(float) == 0) {
    return {reinterpret_cast<const float*>(bytes), width};
  }
  buffer.resize(width);
  if (dtype == v1::LOGITS_DTYPE_F32) {
    std::memcpy(buffer.data(), bytes, width * sizeof(float));
  } else if (dtype == v1::LOGITS_DTYPE_F16) {
    WidenF16(bytes, buffer);
  } else if (dtype == v1::LOGITS_DTYPE_BF16) {
    WidenBf16(bytes, buffer);
  } else {
    WidenLin16(bytes, block.linear_max(index), block.linear_step(index), buffer);
  }
  return buffer;
}

// The `width` ids of row `index` of a sparse block.
std::span<const TokenId> IdsOf(const BlockBytes& parts, int32_t index, std::vector<TokenId>& buffer) {
  const auto width = static_cast<size_t>(parts.message->width());
  const size_t skipped = HasIdsInPayload(*parts.message) ? static_cast<size_t>(index) * width : 0;
  const char* bytes = parts.ids + skipped * sizeof(TokenId);
  if (reinterpret_cast<uintptr_t>(bytes) % alignof(TokenId) == 0) {
    return {reinterpret_cast<const TokenId*>(bytes), width};
  }
  buffer.resize(width);
  std::memcpy(buffer.data(), bytes, width * sizeof(TokenId));
  return buffer;
}

absl::StatusOr<LogitsRow> RowOf(const BlockBytes& parts, int32_t index, int32_t vocab_size, RowBuffers& buffers) {
  const std::span<const float> values = ValuesOf(parts, index, buffers.values);
  if (parts.ids == nullptr) return LogitsRow(values);
  const std::span<const TokenId> ids = IdsOf(parts, index, buffers.ids);
  ASSIGN_OR_RETURN(const size_t used, CountUsedSlots(ids, "logits.token_ids", vocab_size));
  return LogitsRow::Sparse(values.first(used), ids.first(used), vocab_size);
}

// The vocabulary size of a unary request's row: declared for a sparse row, the number of values of a dense one.
absl::StatusOr<int32_t> VocabSizeOf(const v1::Logits& logits) {
  const bool is_sparse = logits.has_block() && logits.block().has_sparse();
  if (is_sparse && logits.vocab_size() == 0) return errors::Required("logits.vocab_size");
  if (!is_sparse && logits.vocab_size() != 0) {
    return errors::OutOfRange("logits.vocab_size", int64_t{logits.vocab_size()}, "unset except for a sparse block");
  }
  const auto checked = [](const char* field, int32_t vocab_size) -> absl::StatusOr<int32_t> {
    if (vocab_size < 1) return errors::OutOfRange(field, int64_t{vocab_size}, ">= 1");
    if (vocab_size <= kMaxVocabSize) return vocab_size;
    return errors::AboveLimit(field, vocab_size, kMaxVocabSize, 1);
  };
  if (is_sparse) return checked("logits.vocab_size", logits.vocab_size());
  if (logits.has_block()) return checked("logits.block.width", logits.block().width());
  return checked("logits.float_values", logits.float_values_size());
}

}  // namespace

absl::StatusOr<WireRows> WireRows::Of(const google::protobuf::RepeatedPtrField<v1::LogitsBlock>& blocks,
                                      std::string_view payload, int32_t vocab_size, const Takes& takes) {
  WireRows rows;
  rows.vocab_size_ = vocab_size;
  SubsetRoom room;
  int64_t offset = 0;
  bool is_cut_off = false;
  for (int i = 0; i < blocks.size(); ++i) {
    const v1::LogitsBlock& block = blocks[i];
    const std::string field = Element("blocks", i);
    std::optional<HiddenBlock> hidden;
    if (block.has_hidden()) {
      ASSIGN_OR_RETURN(hidden, CheckHiddenBlock(block, field, vocab_size, takes.heads, room));
      rows.has_hidden_ = true;
    } else {
      RETURN_IF_ERROR(CheckBlock(block, field, vocab_size, takes.tails));
    }
    if (rows.row_count_ + block.row_count() > kMaxRowsPerMessage) {
      return errors::AboveLimit("blocks", rows.row_count_ + block.row_count(), kMaxRowsPerMessage, 0, "rows");
    }
    const int64_t end = offset + ByteSize(block);
    is_cut_off = is_cut_off || end > static_cast<int64_t>(payload.size());
    rows.blocks_.push_back({rows.row_count_,
                            is_cut_off ? BlockBytes{&block, nullptr, nullptr} : PartsOf(block, payload.data() + offset),
                            std::move(hidden)});
    offset = end;
    rows.row_count_ += block.row_count();
  }
  if (offset == static_cast<int64_t>(payload.size())) return rows;
  std::vector<const v1::LogitsBlock*> messages;
  for (const v1::LogitsBlock& block : blocks) messages.push_back(&block);
  return PayloadMismatch("payload", static_cast<int64_t>(payload.size()), offset, messages);
}

absl::StatusOr<WireRows> WireRows::OfHidden(const v1::Logits& logits, const Heads& heads) {
  if (logits.float_values_size() > 0) return errors::Exclusive("logits.block", "logits.float_values");
  const v1::LogitsBlock& block = logits.block();
  WireRows rows;
  SubsetRoom room;
  ASSIGN_OR_RETURN(HiddenBlock hidden, CheckHiddenBlock(block, "logits.block", logits.vocab_size(), heads, room));
  if (block.row_count() != 1) return errors::OutOfRange("logits.block.row_count", int64_t{block.row_count()}, "1");
  const int64_t bytes = ByteSize(block);
  if (static_cast<int64_t>(logits.values().size()) != bytes) {
    const v1::LogitsBlock* const blocks[] = {&block};
    return PayloadMismatch("logits.values", static_cast<int64_t>(logits.values().size()), bytes, blocks);
  }
  rows.vocab_size_ = hidden.head->head->vocab_size();
  rows.row_count_ = 1;
  rows.has_hidden_ = true;
  rows.blocks_.push_back({0, PartsOf(block, logits.values().data()), std::move(hidden)});
  return rows;
}

int32_t WireRows::width(int32_t index) const {
  const Block& block = BlockOf(index);
  return block.hidden ? block.hidden->columns.size() : block.bytes.message->width();
}

const HiddenBlock* WireRows::Hidden(int32_t index) const {
  const Block& block = BlockOf(index);
  return block.hidden ? &*block.hidden : nullptr;
}

std::span<const float> WireRows::HiddenValues(int32_t index, std::vector<float>& buffer) const {
  const Block& block = BlockOf(index);
  return ValuesOf(block.bytes, index - block.first_row, buffer);
}

const WireRows::Block& WireRows::BlockOf(int32_t index) const {
  size_t b = 0;
  while (index >= blocks_[b].first_row + blocks_[b].bytes.message->row_count()) ++b;
  return blocks_[b];
}

absl::StatusOr<LogitsRow> WireRows::Row(int32_t index, RowBuffers& buffers) const {
  const Block& block = BlockOf(index);
  return RowOf(block.bytes, index - block.first_row, vocab_size_, buffers);
}

std::optional<RowTail> WireRows::Tail(int32_t index) const {
  const Block& block = BlockOf(index);
  const v1::SparseRows& sparse = block.bytes.message->sparse();
  if (sparse.rest() != v1::SPARSE_REST_TAIL) return std::nullopt;
  RowTail tail;
  tail.log_sum_exp = sparse.rest_log_sum_exps(index - block.first_row);
  if (!sparse.rest_log_sum_exps_at_temperature().empty()) {
    tail.scaled_log_sum_exp = sparse.rest_log_sum_exps_at_temperature(index - block.first_row);
  }
  return tail;
}

LogitsView WireRows::RowInPlace(int32_t index) const {
  const Block& block = BlockOf(index);
  const bool is_dense_f32 =
      block.bytes.message->dtype() == v1::LOGITS_DTYPE_F32 && block.bytes.ids == nullptr && !block.hidden;
  if (!is_dense_f32 || reinterpret_cast<uintptr_t>(block.bytes.values) % alignof(float) != 0) return {};
  const size_t width = static_cast<size_t>(vocab_size_);
  return {reinterpret_cast<const float*>(block.bytes.values) + static_cast<size_t>(index - block.first_row) * width,
          width};
}

absl::StatusOr<LogitsRow> SingleRow(const v1::Logits& logits, RowBuffers& buffers) {
  if (logits.float_values_size() > 0) {
    if (!logits.values().empty()) return errors::Exclusive("logits.values", "logits.float_values");
    if (logits.has_block()) return errors::Exclusive("logits.block", "logits.float_values");
  } else if (!logits.has_block()) {
    return errors::Required("logits.float_values");
  }
  ASSIGN_OR_RETURN(const int32_t vocab_size, VocabSizeOf(logits));
  if (!logits.has_block()) return LogitsView(logits.float_values().data(), static_cast<size_t>(vocab_size));
  const v1::LogitsBlock& block = logits.block();
  RETURN_IF_ERROR(CheckBlock(block, "logits.block", vocab_size));
  if (block.row_count() != 1) return errors::OutOfRange("logits.block.row_count", int64_t{block.row_count()}, "1");
  const int64_t bytes = ByteSize(block);
  if (static_cast<int64_t>(logits.values().size()) != bytes) {
    const v1::LogitsBlock* const blocks[] = {&block};
    return PayloadMismatch("logits.values", static_cast<int64_t>(logits.values().size()), bytes, blocks);
  }
  return RowOf(PartsOf(block, logits.values().data()), 0, vocab_size, buffers);
}

}  // namespace logitd::server
