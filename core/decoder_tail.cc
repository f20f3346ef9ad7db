// Decoder's step on a row with a tail (core/row_tail.h).
#include <optional>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/decoder.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/random_stream.h"
#include "core/row_tail.h"
#include "core/stages.h"

namespace logitd {

// The common state of both draws.
struct Decoder::TailStep {
  int32_t position = 0;
  // The temperature in force; 1 if greedy.
  double temperature = 1;
  // Of the rest, at that temperature and at 1.
  uint64_t rest_weight = 0;
  uint64_t model_rest_weight = 0;
  // Of listed tokens and rest, at that temperature.
  uint64_t total_weight = 0;
};

absl::StatusOr<Step> Decoder::ChooseWithTail(const SequenceSums& sums_before, int32_t position, const LogitsRow& row,
                                             Distribution& distribution, const StepInputs& inputs) const {
  const SamplingParams& params = config_.sampling;
  const StepContext context = ContextAt(position, inputs);
  RecordOptions asked = config_.record;
  if (!inputs.named_token_ids.empty()) {
    asked.named_token_ids.assign(inputs.named_token_ids.begin(), inputs.named_token_ids.end());
  }
  RETURN_IF_ERROR(CheckTailIsEnough(params, context, asked));
  RETURN_IF_ERROR(distribution.Assign(row, params, context));

  TailStep tail{.position = position};
  const int32_t unlisted_count = row.vocab_size() - static_cast<int32_t>(row.slots().size());
  const double largest = distribution.max();
  ASSIGN_OR_RETURN(tail.model_rest_weight,
                   WeightOfRest(inputs.tail->log_sum_exp, largest, unlisted_count, "logits.rest_log_sum_exps"));
  tail.rest_weight = tail.model_rest_weight;
  tail.temperature = TemperatureOf(params);
  if (tail.temperature != 1) {
    constexpr char kField[] = "logits.rest_log_sum_exps_at_temperature";
    if (!inputs.tail->scaled_log_sum_exp) {
      return errors::Required(kField, "the temperature is " + errors::Show(tail.temperature));
    }
    ASSIGN_OR_RETURN(tail.rest_weight, WeightOfRest(*inputs.tail->scaled_log_sum_exp, largest / tail.temperature,
                                                    unlisted_count, kField));
  }
  tail.total_weight = distribution.TotalWeight() + tail.rest_weight;

  Step step;
  step.token_count = position;
  step.sums = sums_before;
  std::optional<Draw> draw;
  if (inputs.given_token_id) {
    step.is_rest = row.SlotOf(*inputs.given_token_id) < 0;
  } else if (params.greedy()) {
    draw = distribution.DrawToken(0);
  } else {
    const RandomStream random(config_.seed, config_.sequence_key, position, RandomPurpose::kTokenDraw);
    draw = DrawListedOrRest(distribution, tail.rest_weight, random.Uniform64(0));
    step.is_rest = draw->token_id == kRestToken;
  }
  if (step.is_rest && inputs.dense_row == nullptr) return step;
  if (step.is_rest) {
    ASSIGN_OR_RETURN(step.token, RecordOfRest(tail, row, distribution, inputs));
  } else {
    step.token = RecordOfListed(tail, row, draw ? draw->token_id : *inputs.given_token_id, distribution);
  }
  step.is_rest = false;
  TokenRecord& record = *step.token;
  if (draw && asked.records && asked.draw && !params.greedy()) {
    // The second draw of the rest is there already.
    record.rest_draw = std::exchange(record.draw, std::nullopt);
    record.draw = draw;
  } else {
    record.draw.reset();
  }
  record.position = position;
  record.origin = draw ? TokenOrigin::kChosen : TokenOrigin::kGiven;
  step.token_count = position + 1;
  step.sums.Add(record);
  step.finish = FinishAfter(record.token_id, step.token_count, config_.stop);
  return step;
}

TokenRecord Decoder::RecordOfListed(const TailStep& tail, const LogitsRow& row, TokenId token_id,
                                    Distribution& distribution) const {
  RowStatistics statistics = distribution.ModelStatistics(/*with_entropy=*/false);
  statistics.total_weight += tail.model_rest_weight;
  statistics.log_total = LogOfWeight(statistics.total_weight);
  statistics.log_sum_exp = static_cast<double>(statistics.max) + statistics.log_total;
  TokenRecord record = MakeRecord(row, statistics, &distribution, token_id, config_.record);
  if (record.sampling_log_prob && !config_.sampling.greedy()) {
    const double difference = double{row[token_id]} - static_cast<double>(distribution.max());
    record.sampling_log_prob = difference / tail.temperature - LogOfWeight(tail.total_weight);
  }
  return record;
}

absl::StatusOr<TokenRecord> Decoder::RecordOfRest(const TailStep& tail, const LogitsRow& row,
                                                  Distribution& distribution, const StepInputs& inputs) const {
  const LogitsRow& dense = *inputs.dense_row;
  std::vector<TokenId> listed(row.slots().size());
  for (size_t slot = 0; slot < listed.size(); ++slot) listed[slot] = row.IdOf(static_cast<int32_t>(slot));
  StepContext context = ContextAt(tail.position, inputs);
  context.excluded = listed;
  context.allowed = nullptr;
  const absl::Status status = distribution.Assign(dense, config_.sampling, context);
  if (!status.ok() && DetailOf(status).reason == ErrorReason::kAllTokensExcluded) {
    return errors::OutOfRange("dense_row", "a row with -inf for every unlisted token", "a row with the rest's logits");
  }
  RETURN_IF_ERROR(status);
  const RandomStream random(config_.seed, config_.sequence_key, tail.position, RandomPurpose::kRestDraw);
  const Draw draw = distribution.DrawToken(random.Uniform64(0));
  const TokenId token_id = inputs.given_token_id.value_or(draw.token_id);
  const RowStatistics statistics = distribution.ModelStatistics(/*with_entropy=*/false);
  TokenRecord record = MakeRecord(dense, statistics, &distribution, token_id, config_.record);
  // At temperature 0 it is not the argmax, which is listed.
  if (config_.sampling.greedy() || tail.rest_weight == 0) {
    record.state = LogProbState::kExcluded;
    record.sampling_log_prob.reset();
  } else if (record.sampling_log_prob) {
    record.sampling_log_prob =
        (LogOfWeight(tail.rest_weight) - LogOfWeight(tail.total_weight)) + *record.sampling_log_prob;
  }
  record.draw = draw;
  return record;
}

}  // namespace logitd
