#include "core/decoder.h"

#include <span>
#include <utility>

#include "core/errors.h"
#include "core/random_stream.h"
#include "core/status_macros.h"

namespace logitd {

Decoder::Decoder(DecoderConfig config) : Decoder(std::move(config), nullptr, {}, SequenceSums{}) {}

Decoder::Decoder(DecoderConfig config, SharedTokens prompt, std::vector<TokenId> token_ids, const SequenceSums& sums)
    : config_(std::move(config)), sequence_(std::move(token_ids), WantedSums(config_.record, sums)) {
  if (config_.sampling.needs_prompt()) prompt_ = std::move(prompt);
}

absl::StatusOr<Step> Decoder::Advance(int32_t position, const LogitsRow& row, Distribution& distribution) {
  const int32_t next = sequence_.position();
  const int32_t latest = before_latest_ ? next - 1 : next;
  if (position > next) return errors::PositionGap(position, latest, next);
  if (position < latest) return errors::PositionTooOld(position, latest, next);

  if (position == next) {
    ASSIGN_OR_RETURN(Step step, Choose(sequence_.sums(), position, row, distribution));
    if (step.token) {
      before_latest_ = sequence_.sums();
      sequence_.Append(*step.token);
    }
    return step;
  }
  ASSIGN_OR_RETURN(Step step, Choose(*before_latest_, position, row, distribution));
  const TokenId before = sequence_.token_ids().back();
  const TokenId now = step.token ? step.token->token_id : -1;
  if (now != before) return errors::PositionConflict(position, before, now);
  return step;
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
                                     Distribution& distribution) const {
  Step step;
  step.token_count = position;
  step.sums = sums_before;

  StepContext context{.prompt = prompt(),
                      .output = std::span(sequence_.token_ids()).first(static_cast<size_t>(position)),
                      .excluded = {},
                      .seed = config_.seed,
                      .sequence_key = config_.sequence_key,
                      .position = position};
  if (position < config_.stop.min_tokens) context.excluded = config_.stop.stop_token_ids;
  const DistributionOptions options{.kept_mass = config_.record.records && config_.record.kept_set};
  if (absl::Status status = distribution.Assign(row, config_.sampling, context, options); !status.ok()) {
    if (DetailOf(status).reason != ErrorReason::kAllTokensExcluded) return status;
    step.finish = Finish{FinishReason::kNoAdmissibleToken, std::nullopt};
    return step;
  }
  const RandomStream random(config_.seed, config_.sequence_key, position, RandomPurpose::kTokenDraw);
  const Draw draw = distribution.DrawToken(random.Uniform64(0));
  const TokenId token_id = draw.token_id;

  RowStatistics statistics;
  if (NeedsRowStatistics(config_.record)) {
    statistics = distribution.ModelStatistics(config_.record.records && config_.record.entropy);
  }
  step.token = MakeRecord(row, statistics, &distribution, token_id, config_.record);
  if (config_.record.records && config_.record.draw && !config_.sampling.greedy()) step.token->draw = draw;
  step.token->position = position;
  step.token->origin = TokenOrigin::kChosen;
  step.token_count = position + 1;
  step.sums.Add(*step.token);
  step.finish = FinishAfter(token_id, step.token_count, config_.stop);
  return step;
}

}  // namespace logitd
