#include "core/distribution.h"

#include <algorithm>

#include "core/errors.h"
#include "core/exact_math.h"
#include "core/float_environment.h"
#include "core/random_stream.h"
#include "core/status_macros.h"
#include "core/vocab_subset.h"

namespace logitd {
namespace {

// Stages that are a group if they follow each other. The temperature among them is one of them.
bool IsLogitsStage(Stage stage) { return stage == Stage::kTokenSets || ChangesLogits(stage); }

// Where the group that begins at `begin` ends; `begin` if there is none.
size_t EndOfGroup(std::span<const Stage> stages, size_t begin) {
  size_t end = begin;
  for (size_t i = begin; i < stages.size(); ++i) {
    if (IsLogitsStage(stages[i])) {
      end = i + 1;
    } else if (stages[i] != Stage::kTemperature) {
      break;
    }
  }
  return end;
}

// Whether the stage has anything to do at this step that the processor does.
bool NeedsProcessor(Stage stage, const StepContext& context) {
  return ChangesLogits(stage) && (stage != Stage::kMinTokens || !context.excluded.empty());
}

}  // namespace

absl::Status Distribution::Assign(LogitsView row, const SamplingParams& params, const StepContext& context,
                                  const DistributionOptions& options) {
  UseExactFloats();
  Trim(row.size());
  row_ = row;
  temperature_ = params.temperature;
  row_maximum_.reset();
  const StagePlan plan = PlanOf(params);
  plan_temperature_ = params.greedy() ? 1 : params.temperature + plan.temperature_offset;
  const std::span<const Stage> stages = plan.stages();

  StageReporter reporter;
  StageReporter* const reports = options.reports == nullptr ? nullptr : &reporter;
  const auto finish = [&](absl::Status status) {
    if (reports != nullptr) *options.reports = reporter.reports();
    return status;
  };
  if (reports != nullptr) {
    RETURN_IF_ERROR(ApplyGroup({.row = row, .mask = {}, .is_first = true}, {}, params, context));
    reporter.Begin(kept_);
  }

  bool looked = false;
  for (size_t i = 0, end = 0; i < stages.size() || i == 0; i = end) {
    end = EndOfGroup(stages, i);
    if (end > i || i == 0) {
      const GroupBase base = BaseOfGroup(i == 0);
      // With reports the group grows stage by stage: the last time it is whole, so the bits are the same.
      for (size_t stop = reports == nullptr ? end : std::min(i + 1, end); stop <= end; ++stop) {
        const absl::Status status = ApplyGroup(base, stages.subspan(i, stop - i), params, context);
        if (!status.ok()) {
          if (reports != nullptr && stop > i) reporter.AfterAll(stages[stop - 1]);
          return finish(status);
        }
        if (reports != nullptr && stop > i) reporter.After(stages[stop - 1], kept_);
      }
      looked = false;
    }
    for (; end < stages.size() && !IsLogitsStage(stages[end]); ++end) {
      if (stages[end] == Stage::kTemperature) {
        kept_.SetTemperature(plan_temperature_);
      } else {
        if (!looked) LookBeforeTruncation(plan, params, options);
        looked = true;
        Truncate(stages[end], plan, params, context);
      }
      if (reports != nullptr) reporter.After(stages[end], kept_);
    }
    if (end == i) break;
  }
  if (!looked) LookBeforeTruncation(plan, params, options);
  if (params.greedy()) {
    if (options.candidates != nullptr) {
      const std::span<const uint64_t> mask = kept_.Mask();
      options.candidates->assign(mask.begin(), mask.end());
    }
    kept_.KeepUpTo({kept_.max(), kept_.argmax()});
  }
  is_models_ = params.neutral() && context.excluded.empty();
  return finish(absl::OkStatus());
}

void Distribution::Trim(size_t row_size) {
  small_rows_ = row_size < largest_row_ / 4 ? small_rows_ + 1 : 0;
  if (small_rows_ == kRowsUntilTrim) *this = Distribution();
  largest_row_ = std::max(largest_row_, row_size);
}

Distribution::GroupBase Distribution::BaseOfGroup(bool is_first) {
  if (is_first) return {.row = row_, .mask = {}, .is_first = true};
  const std::span<const uint64_t> mask = kept_.Mask();
  group_mask_.assign(mask.begin(), mask.end());
  // edited_ is about to be written again. The caller's row is not, and group_row_ cannot be assigned from itself.
  LogitsView row = kept_.row();
  if (row.data() == edited_.data()) {
    group_row_.assign(row.begin(), row.end());
    row = group_row_;
  }
  return {.row = row, .mask = group_mask_, .temperature = kept_.temperature()};
}

absl::Status Distribution::ApplyGroup(const GroupBase& base, std::span<const Stage> group, const SamplingParams& params,
                                      const StepContext& context) {
  LogitsView row = base.row;
  std::span<const uint64_t> mask = base.mask;
  std::span<const TokenId> banned;
  if (std::any_of(group.begin(), group.end(), [&](Stage stage) { return NeedsProcessor(stage, context); })) {
    // Penalties are for finite logits.
    if (base.is_first) {
      ASSIGN_OR_RETURN(row_maximum_, FindMaximum(row));
    }
    processor_.Process(row, group, params, context, base.temperature);
    banned = processor_.banned();
    if (!processor_.edits().empty()) {
      edited_.assign(row.begin(), row.end());
      for (const LogitEdit& edit : processor_.edits()) edited_[static_cast<size_t>(edit.token_id)] = edit.logit;
      row = edited_;
    }
  }
  if (params.subset != nullptr && std::find(group.begin(), group.end(), Stage::kTokenSets) != group.end()) {
    const std::span<const uint64_t> words = params.subset->words();
    if (!mask.empty()) {
      subset_mask_.resize(words.size());
      for (size_t i = 0; i < words.size(); ++i) subset_mask_[i] = mask[i] & words[i];
      mask = subset_mask_;
    } else {
      mask = words;
    }
  }
  const kernels::RowScan scan = kept_.Reset(row, mask, banned);
  const bool has_temperature = std::find(group.begin(), group.end(), Stage::kTemperature) != group.end();
  kept_.SetTemperature(has_temperature ? plan_temperature_ : base.temperature);
  if (scan.first_non_finite >= 0) {
    return errors::NonFiniteLogit(scan.first_non_finite, row[static_cast<size_t>(scan.first_non_finite)]);
  }
  const bool is_whole = base.is_first && mask.empty() && banned.empty() && row.data() == row_.data();
  if (scan.argmax >= 0) {
    if (is_whole) row_maximum_ = RowMaximum{scan.max, scan.argmax};
    return absl::OkStatus();
  }
  if (!row_maximum_ && !is_whole) {
    ASSIGN_OR_RETURN(row_maximum_, FindMaximum(row_));
  }
  return is_whole ? errors::NoFiniteLogit() : errors::AllTokensExcluded();
}

void Distribution::LookBeforeTruncation(const StagePlan& plan, const SamplingParams& params,
                                        const DistributionOptions& options) {
  const std::span<const Stage> stages = plan.stages();
  if (std::find(stages.begin(), stages.end(), Stage::kTopNSigma) != stages.end()) {
    sigma_lowest_ = LowestOfSigma(*params.top_n_sigma, kept_);
  }
  // At temperature 0 it is 1.
  if (!options.kept_mass || params.greedy()) return;
  const double temperature = kept_.temperature();
  if (temperature != plan_temperature_) kept_.SetTemperature(plan_temperature_);
  base_max_ = kept_.max();
  base_weight_ = kept_.total_weight();
  if (temperature != plan_temperature_) kept_.SetTemperature(temperature);
}

void Distribution::Truncate(Stage stage, const StagePlan& plan, const SamplingParams& params,
                            const StepContext& context) {
  switch (stage) {
    case Stage::kTopK:
      return KeepTopK(params.top_k, plan.top_k_ties, kept_);
    case Stage::kTopP:
      return KeepTopP(params.top_p, plan.top_p_boundary, kept_);
    case Stage::kMinP:
      return KeepMinP(params.min_p, kept_);
    case Stage::kTypicalP:
      return KeepTypical(params.typical_p, plan.typical_boundary, plan.typical_ties, truncation_, kept_);
    case Stage::kEpsilon:
      return KeepEpsilon(params.epsilon_cutoff, kept_);
    case Stage::kEta:
      return KeepEta(params.eta_cutoff, kept_);
    case Stage::kTopNSigma:
      return KeepTopNSigma(sigma_lowest_, kept_);
    case Stage::kXtc: {
      const RandomStream random(context.seed, context.sequence_key, context.position, RandomPurpose::kXtc);
      const double u = static_cast<double>(random.Uniform64(0) >> 11) * 0x1p-53;
      if (u < params.xtc.probability) ExcludeTopChoices(params.xtc.threshold, truncation_, kept_);
      return;
    }
    default:
      return;
  }
}

double Distribution::LogProb(TokenId token_id) {
  if (!kept_.Contains(token_id)) return -std::numeric_limits<double>::infinity();
  return temperature_ == 0 ? 0 : kept_.LogProb(token_id);
}

double Distribution::kept_mass() {
  if (temperature_ == 0) return 1;
  // A stage may have taken the maximum out: then the weights are relative to another one.
  const double difference = static_cast<double>(kept_.max()) - static_cast<double>(base_max_);
  const double kept_weight = static_cast<double>(kept_.total_weight());
  return kept_weight * Exp(difference / kept_.temperature()) / static_cast<double>(base_weight_);
}

Draw Distribution::DrawToken(uint64_t uniform) {
  if (temperature_ == 0) return {kept_.argmax(), uniform, kUnitWeight, 0, kUnitWeight};
  return kept_.DrawToken(uniform);
}

RowStatistics Distribution::ModelStatistics(bool with_entropy) {
  // Assign has seen that the row has a maximum.
  if (!row_maximum_) row_maximum_ = *FindMaximum(row_);
  if (is_models_ && !with_entropy) return StatisticsOf(*row_maximum_, kept_.total_weight());
  return StatisticsOf(row_, *row_maximum_, with_entropy);
}

}  // namespace logitd
