#include "client/runner/sequence_work.h"

#include <string>

#include "core/errors.h"
#include "core/status_macros.h"
#include "core/types.h"

namespace logitd::runner {
namespace {

std::string UpTo(int64_t last) { return "[0, " + std::to_string(last) + "]"; }

absl::Status CheckTokenIds(const char* field, const google::protobuf::RepeatedField<int32_t>& token_ids,
                           int32_t vocab_size) {
  for (TokenId token_id : token_ids) {
    if (token_id < 0 || token_id >= vocab_size) return errors::TokenIdOutOfRange(field, token_id, vocab_size);
  }
  return absl::OkStatus();
}

absl::Status CheckRecords(const v1::RecordsOutput& records, int row_count, int32_t vocab_size) {
  if (records.target_rows_size() != records.target_token_ids_size()) {
    return errors::OutOfRange("output.records.target_rows", int64_t{records.target_rows_size()},
                              "as many as target_token_ids");
  }
  int32_t least = 0;
  for (int32_t row : records.target_rows()) {
    if (row < least || row >= row_count) {
      return errors::OutOfRange("output.records.target_rows", int64_t{row},
                                "[" + std::to_string(least) + ", " + std::to_string(row_count) + ")");
    }
    least = row;
  }
  RETURN_IF_ERROR(CheckTokenIds("output.records.target_token_ids", records.target_token_ids(), vocab_size));
  RETURN_IF_ERROR(CheckTokenIds("output.records.named_token_ids", records.named_token_ids(), vocab_size));
  if (records.top_n() < 0 || records.top_n() > vocab_size) {
    return errors::OutOfRange("output.records.top_n", int64_t{records.top_n()}, UpTo(vocab_size));
  }
  return absl::OkStatus();
}

}  // namespace

bool WantsRow(const v1::SequenceWork& work, int token_index) {
  switch (work.want()) {
    case v1::ROWS_WANTED_LAST:
      return token_index == work.append_token_ids_size() - 1;
    case v1::ROWS_WANTED_ALL:
      return token_index >= work.skip_row_count();
    default:
      return false;
  }
}

int WantedRowCount(const v1::SequenceWork& work) {
  switch (work.want()) {
    case v1::ROWS_WANTED_LAST:
      return 1;
    case v1::ROWS_WANTED_ALL:
      return work.append_token_ids_size() - work.skip_row_count();
    default:
      return 0;
  }
}

absl::Status CheckWork(const v1::SequenceWork& work, int32_t vocab_size) {
  if (work.sequence_id() < 1) return errors::OutOfRange("sequence_id", work.sequence_id(), "at least 1");
  if (work.has_keep_prefix_length() && work.keep_prefix_length() < 0) {
    return errors::OutOfRange("keep_prefix_length", int64_t{work.keep_prefix_length()}, "at least 0");
  }
  RETURN_IF_ERROR(CheckTokenIds("append_token_ids", work.append_token_ids(), vocab_size));
  if (work.want() < v1::ROWS_WANTED_NONE || work.want() > v1::ROWS_WANTED_ALL) {
    return errors::UnknownEnumValue("want", work.want());
  }
  if (work.want() != v1::ROWS_WANTED_NONE && work.append_token_ids().empty()) {
    return errors::Required("append_token_ids");
  }
  if (work.skip_row_count() < 0 || work.skip_row_count() > work.append_token_ids_size()) {
    return errors::OutOfRange("skip_row_count", int64_t{work.skip_row_count()}, UpTo(work.append_token_ids_size()));
  }
  if (work.output().has_records()) return CheckRecords(work.output().records(), WantedRowCount(work), vocab_size);
  v1::LogitsDtype dtype = work.output().logits().dtype();
  if (dtype != v1::LOGITS_DTYPE_UNSPECIFIED && dtype != v1::LOGITS_DTYPE_F32) {
    return errors::UnknownEnumValue("output.logits.dtype", dtype);
  }
  return absl::OkStatus();
}

}  // namespace logitd::runner
