#include "client/logitd/row_decoder.h"

#include <utility>

#include "base/status_macros.h"

namespace logitd::client {

bool RowDecoder::Take(const v1::BatchResult& result, v1::Completion& completion) {
  for (const v1::StepResult& step : result.steps()) {
    if (step.has_error()) {
      *completion.mutable_error() = step.error();
      return false;
    }
    for (const v1::TokenRecord& token : step.chosen().tokens()) *completion.add_tokens() = token;
    *completion.mutable_totals() = step.chosen().totals();
    if (!step.chosen().has_finish()) continue;
    // The rows after this one have no effect.
    *completion.mutable_finish() = step.chosen().finish();
    return false;
  }
  return true;
}

absl::Status RowDecoder::Close(int64_t sequence_id, v1::Completion& completion) {
  v1::StepBatch batch;
  batch.set_batch_id(++batch_id_);
  batch.add_close_sequence_ids(sequence_id);
  ASSIGN_OR_RETURN(const v1::BatchResult result, stream_.Step(std::move(batch), ""));
  if (result.closes_size() != 1) return absl::InternalError("the server has not answered the close of a sequence");
  if (result.closes(0).has_error()) {
    *completion.mutable_error() = result.closes(0).error();
  } else {
    *completion.mutable_finish() = result.closes(0).finish();
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Completion> RowDecoder::Next() {
  const int32_t sequence = rows_.next_sequence();
  v1::Completion completion;
  completion.set_index(sequence);
  // 0 is no sequence id.
  const int64_t sequence_id = int64_t{sequence} + 1;
  bool goes_on = true;
  while (goes_on && rows_.next_sequence() == sequence) {
    const int32_t first_row = rows_.next_row();
    v1::StepBatch batch;
    batch.set_batch_id(++batch_id_);
    if (first_row == 0) {
      v1::OpenSequence& open = *batch.add_opens();
      open.set_sequence_id(sequence_id);
      open.set_sequence_key(first_key_ + static_cast<uint64_t>(sequence));
      if (!prompt_.empty()) {
        open.mutable_fresh()->mutable_prompt_token_ids()->Add(prompt_.begin(), prompt_.end());
      }
    }
    std::string payload;
    ASSIGN_OR_RETURN(const int32_t rows, rows_.ReadRows(*batch.add_blocks(), payload));
    for (int32_t row = 0; row < rows; ++row) {
      v1::SequenceStep& step = *batch.add_steps();
      step.set_sequence_id(sequence_id);
      step.set_position(first_row + row);
      step.set_row(row);
    }
    ASSIGN_OR_RETURN(const v1::BatchResult result, stream_.Step(std::move(batch), std::move(payload)));
    if (result.opens_size() > 0) {
      const v1::OpenResult& opened = result.opens(0);
      seed_ = opened.seed();
      completion.set_sequence_key(opened.sequence_key());
      if (opened.has_error()) {
        *completion.mutable_error() = opened.error();
        break;
      }
    }
    goes_on = Take(result, completion);
  }
  RETURN_IF_ERROR(rows_.SkipSequence(sequence));
  if (!completion.has_error() && !completion.has_finish()) {
    // The sequence may have more tokens than there are rows.
    RETURN_IF_ERROR(Close(sequence_id, completion));
  }
  return completion;
}

}  // namespace logitd::client
