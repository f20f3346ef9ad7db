// Rows of logits on the wire, dense and sparse -> LogitsRow. Only this file checks a row's bytes against the
// declaration.
//
//   ASSIGN_OR_RETURN(const WireRows rows, WireRows::Of(batch.blocks(), payload, vocab_size));
//   ASSIGN_OR_RETURN(const LogitsRow row, rows.Row(step.row(), buffers));
#ifndef LOGITD_SERVER_CONVERTERS_LOGITS_H_
#define LOGITD_SERVER_CONVERTERS_LOGITS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/logits_row.h"
#include "core/row_tail.h"
#include "core/types.h"
#include "logitd/v1/logits.pb.h"

namespace logitd::server {

// A block with a checked layout, and the place of its bytes.
struct BlockBytes {
  const v1::LogitsBlock* message;
  // [row_count, width] values.
  const char* values;
  // Sparse: [row_count, width] ids, or [width] of all rows. Dense: null.
  const char* ids;
};

// The rows of one message: a view of its blocks and payload, which must outlive it. Thread-compatible.
class WireRows {
 public:
  // Checks every block: dtype, row_count, width, the scales of LIN16, the shared_token_ids and rest of a sparse block,
  // and that the payload has exactly the declared length. Refuses rows with a tail unless `takes_tails`.
  // Errors (fields "blocks[i]....", "payload"): FIELD_REQUIRED, FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED,
  // ROW_LENGTH_MISMATCH, TOKEN_ID_OUT_OF_RANGE, DUPLICATE_TOKEN_ID. REQUIRES: 1 <= vocab_size <= kMaxVocabSize.
  static absl::StatusOr<WireRows> Of(const google::protobuf::RepeatedPtrField<v1::LogitsBlock>& blocks,
                                     std::string_view payload, int32_t vocab_size, bool takes_tails = false);

  int32_t row_count() const { return row_count_; }
  // The number of values of row `index`; vocab_size for a dense row. REQUIRES: as Row.
  int32_t width(int32_t index) const { return BlockOf(index).bytes.message->width(); }
  // Row `index` as f32: a view of the message if that is f32 and aligned, else of `buffers`. Valid until the next call.
  // Errors, only for a sparse row with ids of its own (field "logits.token_ids[slot]"): TOKEN_ID_OUT_OF_RANGE,
  // DUPLICATE_TOKEN_ID, FIELD_OUT_OF_RANGE.
  // REQUIRES: 0 <= index < row_count().
  absl::StatusOr<LogitsRow> Row(int32_t index, RowBuffers& buffers) const;
  // The tail of row `index`, if it has one. REQUIRES: as Row.
  std::optional<RowTail> Tail(int32_t index) const;
  bool IsDense(int32_t index) const { return BlockOf(index).bytes.ids == nullptr; }
  // The logits of row `index` in the message, if it is dense and needs no copy; else empty. REQUIRES: as Row.
  LogitsView RowInPlace(int32_t index) const;

 private:
  struct Block {
    int32_t first_row;
    BlockBytes bytes;
  };
  const Block& BlockOf(int32_t index) const;

  int32_t vocab_size_ = 0;
  int32_t row_count_ = 0;
  std::vector<Block> blocks_;
};

// The one row of a unary request, as f32: a view of `logits` or of `buffers`. The vocabulary size is the width of a
// dense row, or `vocab_size` of a sparse one. Errors: those of WireRows::Of and Row, and FIELDS_EXCLUSIVE.
absl::StatusOr<LogitsRow> SingleRow(const v1::Logits& logits, RowBuffers& buffers);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_LOGITS_H_
