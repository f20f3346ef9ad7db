// A row goes through the groups of its plan, one after the other:
//
//   row --> [ edits: sets, biases, penalties, bans | temperature | cuts ] --> [ edits | temperature | cuts ] --> kept
//             Edit: f64, rounded to f32 once          weights at T   each narrows kept_
//
// Every preset is one group. Only an explicit order with an edit after a cut has more; a group's edits begin with the
// logits and the tokens that the group before left.
//
// Example: logits 6, 3, 0.5, 0.5; logit bias {1: +1}, temperature 2, top-p 0.95. One group:
//   edits         6, 4, 0.5, 0.5                        token 1 is rounded to f32 once
//   temperature   p = 0.6686, 0.2460, 0.0427, 0.0427     kept_ weighs at T = 2 when it is asked
//   cuts          top-p 0.95 keeps tokens 0, 1 and 2    0.6686 + 0.2460 is less than 0.95
// At temperature 0 the plan has neither the temperature nor the cuts after it, and the argmax of kept_ is the token.
#include "core/distribution.h"

#include <algorithm>
#include <limits>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/float_environment.h"

namespace logitd {
namespace {

// Whether the processor has work for the stage at this step.
bool NeedsProcessor(Stage stage, const StepContext& context) {
  return SpecOf(stage).kind == StageKind::kEdit && (stage != Stage::kMinTokens || !context.excluded.empty());
}

}  // namespace

absl::Status Distribution::Assign(const LogitsRow& row, const SamplingParams& params, const StepContext& context,
                                  const DistributionOptions& options) {
  UseExactFloats();
  Trim(row.slots().size());
  row_ = row;
  options_ = options;
  row_maximum_.reset();
  is_greedy_ = params.greedy() && !options.stage_count;
  if (row.slots().empty()) return errors::NoFiniteLogit();
  StagePlan plan = PlanOf(params, context.allowed != nullptr);
  if (options.stage_count) plan = plan.First(*options.stage_count);
  const StageStep step{params, context, plan, processor_, kept_, truncation_};
  for (size_t i = 0; i < plan.group_count(); ++i) {
    const StagePlan::Group group = plan.group(i);
    RETURN_IF_ERROR(Edit(group, /*is_first=*/i == 0, step));
    for (Stage cut : group.cuts) SpecOf(cut).apply(step);
  }
  is_models_ = IsNeutral(params) && context.excluded.empty() && context.allowed == nullptr;
  return absl::OkStatus();
}

void Distribution::Trim(size_t slot_count) {
  small_rows_ = slot_count < largest_row_ / 4 ? small_rows_ + 1 : 0;
  if (small_rows_ == kRowsUntilTrim) *this = Distribution();
  largest_row_ = std::max(largest_row_, slot_count);
}

absl::Status Distribution::Edit(const StagePlan::Group& group, bool is_first, const StageStep& step) {
  const double before = is_first ? 1 : kept_.temperature();
  const double after = group.has_temperature ? step.plan.temperature : before;
  if (group.edits.empty() && !is_first) {
    kept_.SetTemperature(after);
    return absl::OkStatus();
  }
  LogitsView logits = row_.slots();
  const TokenMask* mask = &mask_;
  mask_.AssignEvery();
  if (!is_first) {
    mask_ = kept_.Mask();
    logits = kept_.row();
  }
  std::span<const int32_t> banned;
  if (std::ranges::any_of(group.edits, [&](Stage stage) { return NeedsProcessor(stage, step.context); })) {
    // Penalties are for finite logits.
    if (is_first) {
      ASSIGN_OR_RETURN(row_maximum_, FindMaximum(row_));
    }
    processor_.Begin(row_.WithLogits(logits), before);
    for (Stage stage : group.edits) {
      if (const StageSpec& spec = SpecOf(stage); spec.apply != nullptr) spec.apply(step);
    }
    processor_.Finish();
    banned = SlotsOf(processor_.banned());
    if (!processor_.edits().empty()) {
      // An earlier group's logits are there already.
      if (logits.data() != edited_.data()) edited_.assign(logits.begin(), logits.end());
      // A token that is not listed is -inf, and stays so.
      for (const LogitEdit& edit : processor_.edits()) {
        edited_[static_cast<size_t>(row_.SlotOf(edit.token_id))] = edit.logit;
      }
      logits = edited_;
    }
  }
  if (std::ranges::find(group.edits, Stage::kTokenSets) != group.edits.end()) {
    for (const VocabSubset* set : {step.params.subset.get(), step.context.allowed}) {
      if (set != nullptr) mask = Allow(set->mask(), mask);
    }
  }
  const kernels::RowScan scan = kept_.Reset(logits, *mask, banned, after);
  if (scan.first_non_finite >= 0) {
    return errors::NonFiniteLogit(row_.IdOf(scan.first_non_finite), logits[static_cast<size_t>(scan.first_non_finite)]);
  }
  const bool is_whole = is_first && mask->is_every() && banned.empty() && logits.data() == row_.slots().data();
  if (scan.argmax >= 0) {
    if (is_whole) row_maximum_ = RowMaximum{scan.max, row_.IdOf(scan.argmax)};
    LookBeforeCuts(step);
    return absl::OkStatus();
  }
  if (!row_maximum_ && !is_whole) {
    ASSIGN_OR_RETURN(row_maximum_, FindMaximum(row_));
  }
  return is_whole ? errors::NoFiniteLogit() : errors::AllTokensExcluded();
}

const TokenMask* Distribution::Allow(const TokenMask& allowed, const TokenMask* mask) {
  if (!row_.is_sparse() && mask->is_every()) return &allowed;
  if (mask != &mask_) mask_ = *mask;
  if (!row_.is_sparse()) {
    mask_.Intersect(allowed);
    return &mask_;
  }
  const auto count = static_cast<int32_t>(row_.slots().size());
  if (mask_.is_every()) mask_.AssignAll(row_.slots().size());
  for (int32_t slot = 0; slot < count; ++slot) mask_.ClearUnless(slot, allowed.Contains(row_.IdOf(slot)));
  return &mask_;
}

std::span<const int32_t> Distribution::SlotsOf(std::span<const TokenId> token_ids) {
  if (!row_.is_sparse()) return token_ids;
  slots_.clear();
  for (TokenId token_id : token_ids) {
    if (const int32_t slot = row_.SlotOf(token_id); slot >= 0) slots_.push_back(slot);
  }
  return slots_;
}

void Distribution::LookBeforeCuts(const StageStep& step) {
  if (step.plan.Has(Stage::kTopNSigma)) truncation_.sigma_lowest = LowestOfSigma(*step.params.top_n_sigma, kept_);
  // At temperature 0 it is 1.
  if (!options_.kept_mass || is_greedy_) return;
  base_max_ = kept_.max();
  base_weight_ = kept_.TotalWeightAt(step.plan.temperature);
}

double Distribution::LogProb(TokenId token_id) {
  const int32_t slot = row_.SlotOf(token_id);
  if (!KeepsSlot(slot)) return -std::numeric_limits<double>::infinity();
  return is_greedy_ ? 0 : kept_.LogProb(slot);
}

double Distribution::KeptMass() {
  if (is_greedy_) return 1;
  // A stage may have taken the maximum out: then the weights are relative to another one.
  const double difference = static_cast<double>(kept_.max()) - static_cast<double>(base_max_);
  const double kept_weight = static_cast<double>(kept_.TotalWeight());
  return kept_weight * Exp(difference / kept_.temperature()) / static_cast<double>(base_weight_);
}

Draw Distribution::DrawToken(uint64_t uniform) {
  if (is_greedy_) return {argmax(), uniform, kUnitWeight, 0, kUnitWeight};
  Draw draw = kept_.DrawToken(uniform);
  draw.token_id = row_.IdOf(draw.token_id);
  return draw;
}

RowStatistics Distribution::ModelStatistics(bool with_entropy) {
  // Assign has seen that the row has a maximum.
  if (!row_maximum_) row_maximum_ = *FindMaximum(row_);
  if (is_models_ && !with_entropy) return StatisticsOf(*row_maximum_, kept_.TotalWeight());
  return StatisticsOf(row_, *row_maximum_, with_entropy);
}

}  // namespace logitd
