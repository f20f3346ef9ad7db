// Rows of logits on the wire, dense and sparse -> LogitsRow. Only this file checks a row's bytes against the
// declaration.
//
//   ASSIGN_OR_RETURN(const WireRows rows, WireRows::Of(batch.blocks(), payload, vocab_size));
//   ASSIGN_OR_RETURN(const LogitsRow row, rows.Row(step.row(), buffers));
//
// Rows of hidden states are rows of it, too, whose values a head turns into logits (server/handlers/hidden_rows.h).
#ifndef LOGITD_SERVER_CONVERTERS_LOGITS_H_
#define LOGITD_SERVER_CONVERTERS_LOGITS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/head_columns.h"
#include "core/logits_row.h"
#include "core/row_tail.h"
#include "core/types.h"
#include "logitd/v1/logits.pb.h"
#include "server/models/heads.h"

namespace logitd::server {

// A block with a checked layout, and the place of its bytes.
struct BlockBytes {
  const v1::LogitsBlock* message;
  // [row_count, width] values.
  const char* values;
  // Sparse: [row_count, width] ids, or [width] of all rows. Dense: null.
  const char* ids;
};

// What turns the rows of a block of hidden states into logits.
struct HiddenBlock {
  const NamedHead* head = nullptr;
  // The columns that are wanted.
  HeadColumns columns;
  // Of the message, one for each column. Empty: all tokens, in order.
  std::span<const TokenId> token_ids;
  // Null: the values are as the head multiplies them.
  const OutputNorm* norm = nullptr;
};

// The rows of one message: a view of its blocks and payload, which must outlive it. Thread-compatible.
class WireRows {
 public:
  // Checks every block: dtype, row_count, width, the scales of LIN16, the shared_token_ids and rest of a sparse block,
  // and that the payload has exactly the declared length. Refuses rows with a tail unless `takes_tails`.
  // Errors (fields "blocks[i]....", "payload"): FIELD_REQUIRED, FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED,
  // ROW_LENGTH_MISMATCH, TOKEN_ID_OUT_OF_RANGE, DUPLICATE_TOKEN_ID; of hidden states also HEAD_NOT_FOUND and
  // HEAD_SHAPE_MISMATCH. REQUIRES: 1 <= vocab_size <= kMaxVocabSize.
  struct Takes {
    bool tails = false;
    // Blocks of hidden states name one of these.
    const Heads& heads = Heads::None();
  };
  static absl::StatusOr<WireRows> Of(const google::protobuf::RepeatedPtrField<v1::LogitsBlock>& blocks,
                                     std::string_view payload, int32_t vocab_size) {
    return Of(blocks, payload, vocab_size, Takes());
  }
  static absl::StatusOr<WireRows> Of(const google::protobuf::RepeatedPtrField<v1::LogitsBlock>& blocks,
                                     std::string_view payload, int32_t vocab_size, const Takes& takes);
  // The one row of hidden states of a unary request. REQUIRES: logits.block() has `hidden`. Errors: those of Of, with
  // the fields "logits....", and FIELDS_EXCLUSIVE.
  static absl::StatusOr<WireRows> OfHidden(const v1::Logits& logits, const Heads& heads);

  int32_t row_count() const { return row_count_; }
  int32_t vocab_size() const { return vocab_size_; }
  // The number of logits of row `index`; vocab_size for a dense row. REQUIRES: as Row.
  int32_t width(int32_t index) const;
  // Set: row `index` is of hidden states. REQUIRES: as Row.
  const HiddenBlock* Hidden(int32_t index) const;
  // Whether any row is.
  bool has_hidden() const { return has_hidden_; }
  // The values of such a row, as f32: a view of the message or of `buffer`. REQUIRES: Hidden(index) is not null.
  std::span<const float> HiddenValues(int32_t index, std::vector<float>& buffer) const;
  // Row `index` as f32: a view of the message if that is f32 and aligned, else of `buffers`. Valid until the next call.
  // Errors, only for a sparse row with ids of its own (field "logits.token_ids[slot]"): TOKEN_ID_OUT_OF_RANGE,
  // DUPLICATE_TOKEN_ID, FIELD_OUT_OF_RANGE.
  // REQUIRES: 0 <= index < row_count(); the row is not of hidden states.
  absl::StatusOr<LogitsRow> Row(int32_t index, RowBuffers& buffers) const;
  // The tail of row `index`, if it has one. REQUIRES: as Row.
  std::optional<RowTail> Tail(int32_t index) const;
  bool IsDense(int32_t index) const {
    const Block& block = BlockOf(index);
    return block.bytes.ids == nullptr && !block.hidden;
  }
  // The logits of row `index` in the message, if it is dense and needs no copy; else empty. REQUIRES: as Row.
  LogitsView RowInPlace(int32_t index) const;

 private:
  struct Block {
    int32_t first_row;
    BlockBytes bytes;
    std::optional<HiddenBlock> hidden = std::nullopt;
  };
  const Block& BlockOf(int32_t index) const;

  int32_t vocab_size_ = 0;
  int32_t row_count_ = 0;
  bool has_hidden_ = false;
  std::vector<Block> blocks_;
};

// The one row of a unary request, as f32: a view of `logits` or of `buffers`. The vocabulary size is the width of a
// dense row, or `vocab_size` of a sparse one. Errors: those of WireRows::Of and Row, and FIELDS_EXCLUSIVE.
// REQUIRES: logits.block() is no block of hidden states.
absl::StatusOr<LogitsRow> SingleRow(const v1::Logits& logits, RowBuffers& buffers);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_LOGITS_H_
