#include "core/decoder.h"

#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/random_stream.h"
#include "core/row_statistics.h"
#include "core/stages.h"

namespace logitd {
namespace {

// The record of a given token where the stages leave none: no token has a sampling log-prob.
absl::StatusOr<TokenRecord> RecordOfExcluded(const LogitsRow& row, TokenId token_id, const RecordOptions& options,
                                             Distribution& distribution) {
  RowStatistics statistics;
  if (NeedsRowStatistics(options)) {
    ASSIGN_OR_RETURN(statistics, ReadRow(row, options.records && options.entropy));
  }
  TokenRecord record = MakeRecord(row, statistics, nullptr, token_id, options, &distribution.top_tokens());
  record.state = LogProbState::kExcluded;
  if (!options.records) return record;
  if (options.kept_set) {
    record.kept_count = 0;
    record.kept_mass = 0;
  }
  if (!options.sampling_log_prob) return record;
  for (std::vector<TokenAlternative>* alternatives : {&record.top, &record.named}) {
    for (TokenAlternative& alternative : *alternatives) {
      alternative.sampling_log_prob = -std::numeric_limits<double>::infinity();
    }
  }
  return record;
}

}  // namespace

Decoder::Decoder(DecoderConfig config) : Decoder(std::move(config), nullptr, {}, SequenceSums{}) {}

Decoder::Decoder(DecoderConfig config, SharedTokens prompt, std::vector<TokenId> token_ids, const SequenceSums& sums)
    : config_(std::move(config)),
      sequence_(std::move(token_ids), WantedSums(config_.record, sums),
                config_.keeps_all_tokens || NeedsHistory(config_.sampling)) {
  if (NeedsPrompt(config_.sampling)) prompt_ = std::move(prompt);
}

Decoder::Decoder(DecoderConfig config, int32_t token_count, const SequenceSums& sums)
    : config_(std::move(config)), sequence_(token_count, WantedSums(config_.record, sums)) {}

absl::StatusOr<Step> Decoder::Advance(int32_t position, const LogitsRow& row, Distribution& distribution,
                                      const StepInputs& inputs) {
  const int32_t next = sequence_.position();
  const int32_t latest = before_latest_ ? next - 1 : next;
  if (position > next) return errors::PositionGap(position, latest, next);
  if (position < latest) return errors::PositionTooOld(position, latest, next);

  if (position == next) {
    ASSIGN_OR_RETURN(Step step, Choose(sequence_.sums(), position, row, distribution, inputs));
    if (step.token) {
      before_latest_ = sequence_.sums();
      sequence_.Append(*step.token);
    }
    return step;
  }
  ASSIGN_OR_RETURN(Step step, Choose(*before_latest_, position, row, distribution, inputs));
  // The dense row says whether it is the same token.
  if (step.is_rest) return step;
  // It was taken here, so it is known.
  const TokenId before = *sequence_.last_token();
  const TokenId now = step.token ? step.token->token_id : -1;
  if (now != before) return errors::PositionConflict(position, before, now);
  return step;
}

std::span<const TokenId> Decoder::OutputBefore(int32_t position) const {
  const std::span<const TokenId> tokens(sequence_.token_ids());
  return sequence_.keeps_tokens() ? tokens.first(static_cast<size_t>(position)) : tokens;
}

StepContext Decoder::ContextAt(int32_t position, const StepInputs& inputs) const {
  StepContext context{.prompt = prompt(),
                      .output = OutputBefore(position),
                      .excluded = {},
                      .allowed = inputs.allowed,
                      .seed = config_.seed,
                      .sequence_key = config_.sequence_key,
                      .position = position};
  if (position < config_.stop.min_tokens) context.excluded = config_.stop.stop_token_ids;
  return context;
}

Step Decoder::Accept(std::optional<TokenRecord> record) {
  Step step;
  step.token_count = sequence_.position();
  step.sums = sequence_.sums();
  // A step that was not taken here cannot be computed again.
  before_latest_.reset();
  if (!record) {
    step.finish = Finish{FinishReason::kNoAdmissibleToken, std::nullopt};
    return step;
  }
  sequence_.Append(*record);
  step.token_count = sequence_.position();
  step.sums = sequence_.sums();
  step.finish = FinishAfter(record->token_id, step.token_count, config_.stop);
  step.token = std::move(record);
  return step;
}

absl::StatusOr<Step> Decoder::Choose(const SequenceSums& sums_before, int32_t position, const LogitsRow& row,
                                     Distribution& distribution, const StepInputs& inputs) const {
  if (inputs.tail != nullptr) return ChooseWithTail(sums_before, position, row, distribution, inputs);
  Step step;
  step.token_count = position;
  step.sums = sums_before;

  const StepContext context = ContextAt(position, inputs);
  RecordOptions own;
  if (!inputs.named_token_ids.empty()) {
    own = config_.record;
    own.named_token_ids.assign(inputs.named_token_ids.begin(), inputs.named_token_ids.end());
  }
  const RecordOptions& record = inputs.named_token_ids.empty() ? config_.record : own;

  const DistributionOptions options{.kept_mass = record.records && record.kept_set};
  const absl::Status status = distribution.Assign(row, config_.sampling, context, options);
  const bool is_excluded = !status.ok() && DetailOf(status).reason == ErrorReason::kAllTokensExcluded;
  if (!status.ok() && !is_excluded) return status;
  if (is_excluded && !inputs.given_token_id) {
    step.finish = Finish{FinishReason::kNoAdmissibleToken, std::nullopt};
    return step;
  }
  std::optional<Draw> draw;
  if (!inputs.given_token_id) {
    const RandomStream random(config_.seed, config_.sequence_key, position, RandomPurpose::kTokenDraw);
    draw = distribution.DrawToken(random.Uniform64(0));
  }
  const TokenId token_id = draw ? draw->token_id : *inputs.given_token_id;
  if (is_excluded) {
    ASSIGN_OR_RETURN(step.token, RecordOfExcluded(row, token_id, record, distribution));
  } else {
    RowStatistics statistics;
    if (NeedsRowStatistics(record)) statistics = distribution.ModelStatistics(record.records && record.entropy);
    step.token = MakeRecord(row, statistics, &distribution, token_id, record);
  }
  if (draw && record.records && record.draw && !config_.sampling.greedy()) step.token->draw = draw;
  step.token->position = position;
  step.token->origin = draw ? TokenOrigin::kChosen : TokenOrigin::kGiven;
  step.token_count = position + 1;
  step.sums.Add(*step.token);
  step.finish = FinishAfter(token_id, step.token_count, config_.stop);
  return step;
}

}  // namespace logitd
