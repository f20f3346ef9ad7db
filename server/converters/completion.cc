#include "server/converters/completion.h"

#include <optional>
#include <string>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/log_prob_range.h"

namespace logitd::server {
namespace {

absl::StatusOr<std::optional<CompensatedSum>> ToSum(std::optional<double> sum, double compensation, int64_t token_count,
                                                    double least, const std::string& name) {
  if (sum) {
    // -0 becomes 0, as in sums that began here.
    const CompensatedSum carried{*sum + 0.0, compensation + 0.0};
    RETURN_IF_ERROR(CheckSum(carried, token_count, least, name));
    return carried;
  }
  if (compensation == 0) return std::nullopt;
  return errors::OutOfRange(name + "_compensation", compensation, "0 without " + name + "_sum");
}

}  // namespace

void ToProto(int32_t token_count, const SequenceSums& sums, v1::SequenceTotals& message) {
  message.set_token_count(token_count);
  // A sum of nothing would be a probability of 1.
  if (token_count == 0) return;
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
  if (finish.stop_string_index) message.set_stop_string_index(*finish.stop_string_index);
  if (finish.cut_byte_count) message.set_cut_byte_count(*finish.cut_byte_count);
}

absl::StatusOr<SequenceSums> FromProto(const v1::ResumeState& message, int64_t token_count) {
  SequenceSums sums{std::nullopt, std::nullopt};
  const auto set = [](bool has, double sum) { return has ? std::optional<double>(sum) : std::nullopt; };
  ASSIGN_OR_RETURN(sums.model, ToSum(set(message.has_model_sum(), message.model_sum()), message.model_compensation(),
                                     token_count, kLeastModelLogProb, "model"));
  ASSIGN_OR_RETURN(sums.sampling,
                   ToSum(set(message.has_sampling_sum(), message.sampling_sum()), message.sampling_compensation(),
                         token_count, kLeastSamplingLogProb, "sampling"));
  return sums;
}

}  // namespace logitd::server
