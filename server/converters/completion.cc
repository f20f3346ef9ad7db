#include "server/converters/completion.h"

#include <cmath>
#include <optional>
#include <string>

#include "core/errors.h"
#include "core/status_macros.h"

namespace logitd::server {
namespace {

void ToProto(std::span<const TokenAlternative> alternatives, const RecordOptions& options, const Vocabulary* vocabulary,
             v1::TokenAlternatives& message) {
  for (const TokenAlternative& alternative : alternatives) {
    message.add_token_ids(alternative.token_id);
    if (alternative.model_log_prob) message.add_model_log_probs(*alternative.model_log_prob);
    if (alternative.sampling_log_prob) message.add_sampling_log_probs(*alternative.sampling_log_prob);
    if (alternative.rank) message.add_ranks(*alternative.rank);
    if (options.token_bytes && vocabulary != nullptr) {
      message.add_token_bytes(std::string(vocabulary->TokenBytes(alternative.token_id)));
    }
  }
}

absl::StatusOr<CompensatedSum> ToSum(double sum, double compensation, const std::string& name) {
  if (!std::isfinite(sum) || sum > 0) return errors::OutOfRange(name + "_sum", sum, "finite and <= 0");
  if (!std::isfinite(compensation)) return errors::OutOfRange(name + "_compensation", compensation, "finite");
  return CompensatedSum{sum, compensation};
}

}  // namespace

void ToProto(const TokenRecord& record, const RecordOptions& options, const Vocabulary* vocabulary,
             v1::TokenRecord& message) {
  message.set_token_id(record.token_id);
  message.set_position(record.position);
  message.set_origin(static_cast<v1::TokenOrigin>(record.origin));
  if (!options.records) return;
  message.set_state(static_cast<v1::LogProbState>(record.state));
  if (options.token_bytes && vocabulary != nullptr) {
    message.set_token_bytes(std::string(vocabulary->TokenBytes(record.token_id)));
  }
  if (record.model_log_prob) message.set_model_log_prob(*record.model_log_prob);
  if (record.sampling_log_prob) message.set_sampling_log_prob(*record.sampling_log_prob);
  if (record.rank) message.set_rank(*record.rank);
  if (record.model_entropy) message.set_model_entropy(*record.model_entropy);
  if (record.model_log_sum_exp) message.set_model_log_sum_exp(*record.model_log_sum_exp);
  if (!record.top.empty()) ToProto(record.top, options, vocabulary, *message.mutable_top());
  if (!record.named.empty()) ToProto(record.named, options, vocabulary, *message.mutable_named());
}

void ToProto(int32_t token_count, const SequenceSums& sums, v1::SequenceTotals& message) {
  message.set_token_count(token_count);
  if (sums.model) message.set_cumulative_model_log_prob(sums.model->value());
  if (sums.sampling) message.set_cumulative_sampling_log_prob(sums.sampling->value());
}

void ToProto(const SequenceSums& sums, v1::ResumeState& message) {
  if (sums.model) {
    message.set_model_sum(sums.model->sum);
    message.set_model_compensation(sums.model->compensation);
  }
  if (sums.sampling) {
    message.set_sampling_sum(sums.sampling->sum);
    message.set_sampling_compensation(sums.sampling->compensation);
  }
}

void ToProto(const Finish& finish, v1::Finish& message) {
  message.set_reason(static_cast<v1::FinishReason>(finish.reason));
  if (finish.stop_token_id) message.set_stop_token_id(*finish.stop_token_id);
}

absl::StatusOr<SequenceSums> FromProto(const v1::ResumeState& message) {
  SequenceSums sums{std::nullopt, std::nullopt};
  if (message.has_model_sum()) {
    ASSIGN_OR_RETURN(sums.model, ToSum(message.model_sum(), message.model_compensation(), "model"));
  }
  if (message.has_sampling_sum()) {
    ASSIGN_OR_RETURN(sums.sampling, ToSum(message.sampling_sum(), message.sampling_compensation(), "sampling"));
  }
  return sums;
}

}  // namespace logitd::server
