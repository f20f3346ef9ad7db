#include "server/handlers/scored_continuation.h"

#include <string>

#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"

namespace logitd::server {

void ToProto(const ContinuationInput& input, const ContinuationScore& score, const RecordOptions& options,
             const Vocabulary& vocabulary, v1::ScoredContinuation& message) {
  if (!score.status.ok()) {
    *message.mutable_error() = ToProto(score.status);
    return;
  }
  if (input.boundary) *message.mutable_boundary() = *input.boundary;
  v1::ScoredSequence& sequence = *message.mutable_score();
  for (const TokenRecord& record : score.tokens) ToProto(record, options, &vocabulary, *sequence.add_tokens());
  ToProto(score.token_count, score.sums, *sequence.mutable_totals());
  sequence.set_is_greedy(score.is_greedy);
  if (input.byte_count) sequence.set_byte_count(static_cast<int32_t>(*input.byte_count));
  if (input.character_count) sequence.set_character_count(static_cast<int32_t>(*input.character_count));
}

v1::Usage UsageOf(const ItemInput& input, const ItemScores& scores) {
  v1::Usage usage;
  usage.set_prompt_token_count(static_cast<int32_t>(input.context->size()));
  usage.set_evaluated_token_count(static_cast<int32_t>(scores.evaluated_count));
  int64_t scored = 0;
  for (const ContinuationScore& score : scores.continuations) scored += score.token_count;
  usage.set_scored_token_count(static_cast<int32_t>(scored));
  return usage;
}

absl::Status CheckAlternatives(const std::vector<ItemInput>& items, const RecordOptions& options) {
  const int64_t per_token = options.top_n + static_cast<int64_t>(options.named_token_ids.size());
  int64_t alternatives = 0;
  for (const ItemInput& item : items) {
    for (const ContinuationInput& input : item.continuations) {
      alternatives += static_cast<int64_t>(input.token_ids.size()) * per_token + CountOf(input.named);
    }
  }
  if (alternatives > kMaxAlternatives) {
    return errors::LimitExceeded("record.top_n", alternatives,
                                 "[0, " + std::to_string(kMaxAlternatives) + "] alternatives in one reply",
                                 "max_alternatives");
  }
  return absl::OkStatus();
}

}  // namespace logitd::server
