#include "client/runner/sequence_work.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/types.h"
#include "wire/sampling.h"

namespace logitd::runner {
namespace {

std::string UpTo(int64_t last) { return "[0, " + std::to_string(last) + "]"; }

absl::Status CheckTokenIds(const std::string& field, const google::protobuf::RepeatedField<int32_t>& token_ids,
                           int32_t vocab_size) {
  return wire::CheckTokenIds({token_ids.data(), static_cast<size_t>(token_ids.size())}, field, vocab_size);
}

absl::Status CheckRecords(const std::string& field, const v1::RecordsOutput& records, int row_count,
                          int32_t vocab_size) {
  if (records.target_rows_size() != records.target_token_ids_size()) {
    return errors::OutOfRange(field + "target_rows", int64_t{records.target_rows_size()},
                              "as many as target_token_ids");
  }
  int32_t least = 0;
  for (int32_t row : records.target_rows()) {
    if (row < least || row >= row_count) {
      return errors::OutOfRange(field + "target_rows", int64_t{row},
                                "[" + std::to_string(least) + ", " + std::to_string(row_count) + ")");
    }
    least = row;
  }
  RETURN_IF_ERROR(CheckTokenIds(field + "target_token_ids", records.target_token_ids(), vocab_size));
  RETURN_IF_ERROR(CheckTokenIds(field + "named_token_ids", records.named_token_ids(), vocab_size));
  if (records.top_n() < 0 || records.top_n() > vocab_size) {
    return errors::OutOfRange(field + "top_n", int64_t{records.top_n()}, UpTo(vocab_size));
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const std::string& field, const v1::SequenceWork& work, const v1::RowRequest& request,
                          int32_t vocab_size) {
  const int appended = work.append_token_ids_size();
  if (appended == 0) return errors::Required("append_token_ids");
  if (request.first_row() < 0 || request.first_row() >= appended) {
    return errors::OutOfRange(field + "first_row", int64_t{request.first_row()}, UpTo(appended - 1));
  }
  const int most = appended - request.first_row();
  if (request.has_row_count() && (request.row_count() < 1 || request.row_count() > most)) {
    return errors::OutOfRange(field + "row_count", int64_t{request.row_count()}, "[1, " + std::to_string(most) + "]");
  }
  switch (request.form_case()) {
    case v1::RowRequest::kLogits: {
      const v1::LogitsDtype dtype = request.logits().dtype();
      if (dtype == v1::LOGITS_DTYPE_UNSPECIFIED || dtype == v1::LOGITS_DTYPE_F32) return absl::OkStatus();
      return errors::UnknownEnumValue(field + "logits.dtype", dtype);
    }
    case v1::RowRequest::kRecords:
      return CheckRecords(field + "records.", request.records(), RowCountOf(work, request), vocab_size);
    case v1::RowRequest::kChoice:
      if (request.choice().decoder_id() < 1) {
        return errors::OutOfRange(field + "choice.decoder_id", request.choice().decoder_id(), "at least 1");
      }
      if (RowCountOf(work, request) != 1) {
        return errors::OutOfRange(field + "row_count", int64_t{RowCountOf(work, request)}, "1 for a choice");
      }
      return absl::OkStatus();
    case v1::RowRequest::FORM_NOT_SET:
      break;
  }
  return errors::Required(field + "form");
}

}  // namespace

int RowCountOf(const v1::SequenceWork& work, const v1::RowRequest& request) {
  return request.has_row_count() ? request.row_count() : work.append_token_ids_size() - request.first_row();
}

bool WantsRow(const v1::SequenceWork& work, int token_index) {
  for (const v1::RowRequest& request : work.rows()) {
    if (token_index >= request.first_row() && token_index - request.first_row() < RowCountOf(work, request))
      return true;
  }
  return false;
}

std::vector<int> WantedRows(const v1::SequenceWork& work) {
  std::vector<bool> is_wanted(static_cast<size_t>(work.append_token_ids_size()), false);
  for (const v1::RowRequest& request : work.rows()) {
    const auto first = is_wanted.begin() + request.first_row();
    std::fill(first, first + RowCountOf(work, request), true);
  }
  std::vector<int> wanted;
  for (size_t i = 0; i < is_wanted.size(); ++i) {
    if (is_wanted[i]) wanted.push_back(static_cast<int>(i));
  }
  return wanted;
}

std::vector<int> ForksThatWait(const v1::RunBatch& batch, const std::function<int64_t(int64_t)>& length_of) {
  std::vector<int> waits(static_cast<size_t>(batch.work_size()), -1);
  std::unordered_map<int64_t, int> places;
  // The length of each entry's sequence before its tokens are appended.
  std::vector<int64_t> lengths;
  for (int i = 0; i < batch.work_size(); ++i) {
    const v1::SequenceWork& work = batch.work(i);
    const int64_t source_id = work.has_fork_from_sequence_id() ? work.fork_from_sequence_id() : work.sequence_id();
    const auto source = places.find(source_id);
    const bool is_here = work.has_fork_from_sequence_id() && source != places.end();
    const int64_t length = is_here ? lengths[source->second] : length_of(source_id);
    const int64_t keep = work.has_keep_prefix_length() ? work.keep_prefix_length() : length;
    if (is_here) waits[i] = keep > length ? source->second : waits[source->second];
    lengths.push_back(keep);
    places.emplace(work.sequence_id(), i);
  }
  return waits;
}

absl::Status CheckWork(const v1::SequenceWork& work, int32_t vocab_size) {
  if (work.sequence_id() < 1) return errors::OutOfRange("sequence_id", work.sequence_id(), "at least 1");
  if (work.has_keep_prefix_length() && work.keep_prefix_length() < 0) {
    return errors::OutOfRange("keep_prefix_length", int64_t{work.keep_prefix_length()}, "at least 0");
  }
  if (work.isolated() && (work.has_fork_from_sequence_id() || work.has_keep_prefix_length())) {
    return errors::Exclusive("isolated",
                             work.has_keep_prefix_length() ? "keep_prefix_length" : "fork_from_sequence_id");
  }
  RETURN_IF_ERROR(CheckTokenIds("append_token_ids", work.append_token_ids(), vocab_size));
  for (int i = 0; i < work.rows_size(); ++i) {
    RETURN_IF_ERROR(CheckRequest("rows[" + std::to_string(i) + "].", work, work.rows(i), vocab_size));
  }
  return absl::OkStatus();
}

}  // namespace logitd::runner
