#include "client/runner/batch_reply.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/status_macros.h"
#include "client/runner/sequence_work.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/row_statistics.h"
#include "wire/error.h"

namespace logitd::runner {
namespace {

static_assert(std::endian::native == std::endian::little, "rows go onto the wire as they lie in memory");

// The bytes that a message and a SequenceOutput need beside their rows; generous.
constexpr int64_t kMessageOverheadBytes = 64;
constexpr int64_t kOutputOverheadBytes = 64;

template <typename T>
void AppendBytes(std::string* bytes, T value) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Errors: MODEL_OUTPUT_INVALID for a row with NaN, +inf, or nothing but -inf.
absl::Status CheckRow(LogitsView row) {
  const absl::Status status = FindMaximum(row).status();
  if (status.ok()) return status;
  return errors::ModelOutputInvalid("the model's row: " + DetailOf(status).message);
}

}  // namespace

BatchReply::BatchReply(const v1::RunBatch& batch, const BatchControl& control, int32_t vocab_size, int32_t row_width,
                       int64_t max_message_bytes, RowBuffers& buffers, Decoders& decoders, Writer write)
    : batch_(batch),
      control_(control),
      row_width_(row_width),
      max_message_bytes_(std::min(max_message_bytes, static_cast<int64_t>(buffers.buffer_bytes()))),
      buffers_(buffers),
      decoders_(decoders),
      write_(std::move(write)) {
  entries_.resize(batch.work_size());
  for (int i = 0; i < batch.work_size(); ++i) {
    // The caller fails such an entry at once, so it may ask for anything.
    if (!CheckWork(batch.work(i), vocab_size).ok()) {
      entries_[i].work = &batch.work(i);
      continue;
    }
    entries_[i].work = &batch.work(i);
    entries_[i].wanted = WantedRows(batch.work(i));
    for (const v1::RowRequest& request : batch.work(i).rows()) {
      entries_[i].requests.push_back({&request, RowCountOf(batch.work(i), request)});
    }
  }
  StartMessage();
  Advance();
}

void BatchReply::AddRow(int work_index, LogitsView row) {
  Entry& entry = entries_[work_index];
  if (entry.failed || entry.taken == entry.wanted.size()) return;
  if (row.size() != static_cast<size_t>(row_width_)) {
    FailHere(work_index, errors::ModelOutputInvalid("the model's row has " + std::to_string(row.size()) +
                                                    " values, must have " + std::to_string(row_width_)));
    return;
  }
  ++entry.taken;
  if (static_cast<size_t>(work_index) == head_) {
    AppendRow(entry, row);
  } else {
    entry.early.insert(entry.early.end(), row.begin(), row.end());
  }
  Advance();
}

void BatchReply::Fail(int work_index, const absl::Status& error) {
  Entry& entry = entries_[work_index];
  if (entry.failed) return;
  entry.failed = true;
  entry.error = error;
  entry.early.clear();
  DropChosenOf(entry);
  // An entry without rows, or with all of its rows written, has had its turn already.
  if (static_cast<size_t>(work_index) < head_) AppendError(entry);
  Advance();
}

void BatchReply::DropChosenOf(const Entry& entry) {
  for (const v1::RowRequest& request : entry.work->rows()) {
    if (request.has_choice()) decoders_.DropChosen(request.choice().decoder_id());
  }
}

void BatchReply::Skip(int work_index) {
  entries_[work_index].skipped = true;
  Fail(work_index, absl::OkStatus());
}

void BatchReply::FailHere(int work_index, const absl::Status& error) {
  entries_[work_index].drop = true;
  Fail(work_index, error);
}

void BatchReply::Finish() {
  for (size_t i = head_; i < entries_.size(); ++i) {
    if (!entries_[i].failed && entries_[i].taken < entries_[i].wanted.size()) {
      FailHere(static_cast<int>(i), errors::Internal("the model returned " + std::to_string(entries_[i].taken) +
                                                     " of " + std::to_string(entries_[i].wanted.size()) + " rows"));
    }
  }
  message_.mutable_output()->set_final(true);
  Send();
}

std::vector<int64_t> BatchReply::SequencesToDrop() const {
  std::vector<int64_t> sequence_ids;
  for (const Entry& entry : entries_) {
    if (entry.drop) sequence_ids.push_back(entry.work->sequence_id());
  }
  return sequence_ids;
}

void BatchReply::Advance() {
  for (; head_ < entries_.size(); ++head_) {
    Entry& entry = entries_[head_];
    if (entry.failed) {
      AppendError(entry);
      continue;
    }
    for (size_t begin = 0; begin < entry.early.size(); begin += row_width_) {
      AppendRow(entry, LogitsView(entry.early).subspan(begin, row_width_));
      if (entry.failed) break;
    }
    entry.early = {};
    if (entry.failed) {
      AppendError(entry);
      continue;
    }
    if (entry.written < entry.wanted.size()) return;
  }
}

int64_t BatchReply::RowBytes(const Request& request) const {
  if (request.request->has_logits()) return int64_t{row_width_} * int64_t{sizeof(float)};
  const v1::RecordsOutput& records = request.request->records();
  int64_t targets = 0;
  for (int i = request.next_target; i < records.target_rows_size() && records.target_rows(i) == request.written; ++i) {
    ++targets;
  }
  // log_sum_exp, argmax and entropy; then a double and an int32 (at most 5 bytes) per token.
  return 8 + 5 + 8 + targets * 13 + (int64_t{records.top_n()} + records.named_token_ids_size()) * 12 + 64;
}

void BatchReply::AppendRow(Entry& entry, LogitsView row) {
  const int token_index = entry.wanted[entry.written];
  for (size_t i = 0; i < entry.requests.size(); ++i) {
    const Request& request = entry.requests[i];
    const int first = request.request->first_row();
    if (token_index < first || token_index - first >= request.row_count) continue;
    if (absl::Status status = AppendFor(entry, static_cast<int>(i), row); !status.ok()) {
      entry.failed = true;
      entry.drop = true;
      entry.error = std::move(status);
      DropChosenOf(entry);
      return;
    }
  }
  ++entry.written;
}

absl::Status BatchReply::AppendFor(Entry& entry, int request_index, LogitsView row) {
  Request& request = entry.requests[static_cast<size_t>(request_index)];
  if (request.request->has_choice()) {
    auto choice = decoders_.Choose(request.request->choice(), row);
    if (!choice.ok()) {
      RETURN_IF_ERROR(CheckRow(row));
      return In("rows[" + std::to_string(request_index) + "].", choice.status());
    }
    const int64_t bytes = static_cast<int64_t>(choice->ByteSizeLong()) + kOutputOverheadBytes;
    RETURN_IF_ERROR(MakeRoom(bytes));
    v1::SequenceOutput& output = OutputOf(entry, request_index);
    output.set_row_count(1);
    *output.mutable_chosen() = *std::move(choice);
    message_bytes_ += bytes;
    ++request.written;
    return absl::OkStatus();
  }
  const int64_t bytes = RowBytes(request);
  RETURN_IF_ERROR(MakeRoom(bytes + kOutputOverheadBytes));
  if (request.request->has_logits()) {
    RETURN_IF_ERROR(CopyRow(row));
    v1::SequenceOutput& output = OutputOf(entry, request_index);
    output.set_row_count(output.row_count() + 1);
    CountRow();
  } else {
    const absl::StatusOr<RowStatistics> statistics = ReadRow(row, request.request->records().entropy());
    if (!statistics.ok()) return CheckRow(row);
    v1::SequenceOutput& output = OutputOf(entry, request_index);
    output.set_row_count(output.row_count() + 1);
    AppendRecords(request, row, *statistics, *output.mutable_records());
  }
  message_bytes_ += bytes;
  ++request.written;
  return absl::OkStatus();
}

absl::Status BatchReply::CopyRow(LogitsView row) {
  const size_t before = payload_.size();
  // Each part is checked right after it is copied, while it is in the nearest cache.
  constexpr size_t kPart = 4096;
  for (size_t begin = 0; begin < row.size(); begin += kPart) {
    const LogitsView part = row.subspan(begin, std::min(kPart, row.size() - begin));
    payload_.Append(part.data(), part.size_bytes());
    const auto* copied = reinterpret_cast<const float*>(payload_.data() + payload_.size() - part.size_bytes());
    if (FindMaximum(LogitsView(copied, part.size())).ok()) continue;
    // A part may have no finite value even if the row has one.
    if (absl::Status status = CheckRow(row); !status.ok()) {
      payload_.Truncate(before);
      return status;
    }
  }
  return absl::OkStatus();
}

void BatchReply::CountRow() {
  v1::BatchOutput& batch_output = *message_.mutable_output();
  if (batch_output.blocks().empty()) {
    v1::LogitsBlock& block = *batch_output.add_blocks();
    block.set_dtype(v1::LOGITS_DTYPE_F32);
    block.set_width(row_width_);
  }
  batch_output.mutable_blocks(0)->set_row_count(++message_rows_);
}

void BatchReply::AppendRecords(Request& request, LogitsView row, const RowStatistics& statistics,
                               v1::RowRecords& records) {
  const v1::RecordsOutput& asked = request.request->records();
  records.add_log_sum_exps(statistics.log_sum_exp);
  records.add_argmax_token_ids(statistics.argmax);
  if (asked.entropy()) records.add_entropies(*statistics.entropy);
  for (; request.next_target < asked.target_rows_size() && asked.target_rows(request.next_target) == request.written;
       ++request.next_target) {
    const TokenId target = asked.target_token_ids(request.next_target);
    records.add_target_log_probs(statistics.LogProb(row[target]));
    if (asked.ranks()) records.add_target_ranks(RankOf(row, target));
  }
  if (asked.top_n() > 0) {
    for (TokenId token_id : top_tokens_.Find(row, asked.top_n())) {
      AppendBytes<int32_t>(records.mutable_top_token_ids(), token_id);
      AppendBytes<double>(records.mutable_top_log_probs(), statistics.LogProb(row[token_id]));
    }
  }
  for (TokenId token_id : asked.named_token_ids()) {
    AppendBytes<double>(records.mutable_named_log_probs(), statistics.LogProb(row[token_id]));
    if (asked.ranks()) AppendBytes<int32_t>(records.mutable_named_ranks(), RankOf(row, token_id));
  }
}

void BatchReply::AppendError(const Entry& entry) {
  v1::SequenceOutput output;
  output.set_sequence_id(entry.work->sequence_id());
  if (entry.skipped) {
    output.set_skipped(true);
  } else {
    *output.mutable_error() = wire::ToProto(entry.error);
  }
  const int64_t bytes = static_cast<int64_t>(output.ByteSizeLong()) + kOutputOverheadBytes;
  // An error is always small enough.
  (void)MakeRoom(bytes);
  *message_.mutable_output()->add_outputs() = std::move(output);
  message_bytes_ += bytes;
}

v1::SequenceOutput& BatchReply::OutputOf(const Entry& entry, int request_index) {
  v1::BatchOutput& batch_output = *message_.mutable_output();
  const int64_t sequence_id = entry.work->sequence_id();
  if (!batch_output.outputs().empty()) {
    v1::SequenceOutput& last = *batch_output.mutable_outputs(batch_output.outputs_size() - 1);
    if (last.sequence_id() == sequence_id && last.request_index() == request_index) return last;
  }
  v1::SequenceOutput& output = *batch_output.add_outputs();
  output.set_sequence_id(sequence_id);
  output.set_request_index(request_index);
  output.set_first_row(entry.requests[static_cast<size_t>(request_index)].written);
  output.set_block_row(message_rows_);
  message_bytes_ += kOutputOverheadBytes;
  return output;
}

absl::Status BatchReply::MakeRoom(int64_t bytes) {
  if (kMessageOverheadBytes + bytes > max_message_bytes_) {
    return errors::LimitExceeded("output", kMessageOverheadBytes + bytes,
                                 "at most " + std::to_string(max_message_bytes_) + " bytes a row", "max_message_bytes");
  }
  const bool has_content = !message_.output().outputs().empty();
  if (has_content && (message_bytes_ + bytes > max_message_bytes_ || message_rows_ == kMaxRowsPerMessage)) Send();
  return absl::OkStatus();
}

void BatchReply::StartMessage() {
  message_.Clear();
  payload_ = buffers_.Take();
  message_.mutable_output()->set_batch_id(batch_.batch_id());
  message_bytes_ = kMessageOverheadBytes;
  message_rows_ = 0;
}

void BatchReply::Send() {
  write_(message_, std::move(payload_));
  StartMessage();
}

}  // namespace logitd::runner
