// Rows of logits on the wire -> LogitsView. The one place where a row's bytes are checked against what is declared.
#ifndef LOGITD_SERVER_CONVERTERS_LOGITS_H_
#define LOGITD_SERVER_CONVERTERS_LOGITS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/types.h"
#include "logitd/v1/logits.pb.h"

namespace logitd::server {

// The rows of one message: a view of its blocks and payload, which must outlive it. Thread-compatible.
class WireRows {
 public:
  // Checks every block: dtype, row_count, width == vocab_size, the scales of LIN16, and that the payload has exactly
  // the declared length. Errors: FIELD_REQUIRED, FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED, ROW_LENGTH_MISMATCH; fields
  // "blocks[i]....", "payload".
  static absl::StatusOr<WireRows> Of(const google::protobuf::RepeatedPtrField<v1::LogitsBlock>& blocks,
                                     std::string_view payload, int32_t vocab_size);

  int32_t row_count() const { return row_count_; }
  // Row `index` as f32: the payload itself where it is f32 and aligned, else widened into `buffer`. The view
  // holds until the next call. REQUIRES: 0 <= index < row_count().
  LogitsView Row(int32_t index, std::vector<float>& buffer) const;

 private:
  struct Block {
    const v1::LogitsBlock* message;
    int32_t first_row;
    const char* bytes;
  };

  int32_t vocab_size_ = 0;
  int32_t row_count_ = 0;
  std::vector<Block> blocks_;
};

// The one row of a unary request, as f32: a view of `logits` or of `buffer`. Its width is the vocabulary.
// Errors: FIELD_REQUIRED, FIELDS_EXCLUSIVE, FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED, ROW_LENGTH_MISMATCH.
absl::StatusOr<LogitsView> SingleRow(const v1::Logits& logits, std::vector<float>& buffer);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_LOGITS_H_
