#include "core/distribution.h"

#include <algorithm>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/float_environment.h"
#include "core/random_stream.h"

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

absl::Status Distribution::Assign(const LogitsRow& row, const SamplingParams& params, const StepContext& context,
                                  const DistributionOptions& options) {
  UseExactFloats();
  Trim(row.slots().size());
  row_ = row;
  temperature_ = params.temperature;
  row_maximum_.reset();
  if (row.slots().empty()) return errors::NoFiniteLogit();
  const StagePlan plan = PlanOf(params, context.allowed != nullptr);
  plan_temperature_ = params.greedy() ? 1 : params.temperature + plan.temperature_offset;
  const std::span<const Stage> stages = plan.stages();

  StageReporter reporter;
  StageReporter* const reports = options.reports == nullptr ? nullptr : &reporter;
  const auto finish = [&](absl::Status status) {
    if (reports != nullptr) *options.reports = reporter.reports();
    return status;
  };
  if (reports != nullptr) {
    RETURN_IF_ERROR(ApplyGroup(BaseOfGroup(/*is_first=*/true), {}, params, context));
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
  is_models_ = params.neutral() && context.excluded.empty() && context.allowed == nullptr;
  return finish(absl::OkStatus());
}

void Distribution::Trim(size_t slot_count) {
  small_rows_ = slot_count < largest_row_ / 4 ? small_rows_ + 1 : 0;
  if (small_rows_ == kRowsUntilTrim) *this = Distribution();
  largest_row_ = std::max(largest_row_, slot_count);
}

Distribution::GroupBase Distribution::BaseOfGroup(bool is_first) {
  if (is_first) return {.logits = row_.slots(), .mask = {}, .is_first = true};
  const std::span<const uint64_t> mask = kept_.Mask();
  group_mask_.assign(mask.begin(), mask.end());
  // edited_ is about to be written again. The caller's row is not, and group_logits_ cannot be assigned from itself.
  LogitsView logits = kept_.row();
  if (logits.data() == edited_.data()) {
    group_logits_.assign(logits.begin(), logits.end());
    logits = group_logits_;
  }
  return {.logits = logits, .mask = group_mask_, .temperature = kept_.temperature()};
}

absl::Status Distribution::ApplyGroup(const GroupBase& base, std::span<const Stage> group, const SamplingParams& params,
                                      const StepContext& context) {
  LogitsView logits = base.logits;
  std::span<const uint64_t> mask = base.mask;
  std::span<const int32_t> banned;
  if (std::any_of(group.begin(), group.end(), [&](Stage stage) { return NeedsProcessor(stage, context); })) {
    // Penalties are for finite logits.
    if (base.is_first) {
      ASSIGN_OR_RETURN(row_maximum_, FindMaximum(row_));
    }
    processor_.Process(row_.WithLogits(logits), group, params, context, base.temperature);
    banned = SlotsOf(processor_.banned());
    if (!processor_.edits().empty()) {
      edited_.assign(logits.begin(), logits.end());
      // What is not listed is -inf, and stays so.
      for (const LogitEdit& edit : processor_.edits()) {
        edited_[static_cast<size_t>(row_.SlotOf(edit.token_id))] = edit.logit;
      }
      logits = edited_;
    }
  }
  if (std::find(group.begin(), group.end(), Stage::kTokenSets) != group.end()) {
    if (const auto allowed = AllowedWords(params, context); !allowed.empty()) mask = InAllowed(mask, allowed);
  }
  const kernels::RowScan scan = kept_.Reset(logits, mask, banned);
  const bool has_temperature = std::find(group.begin(), group.end(), Stage::kTemperature) != group.end();
  kept_.SetTemperature(has_temperature ? plan_temperature_ : base.temperature);
  if (scan.first_non_finite >= 0) {
    return errors::NonFiniteLogit(row_.IdOf(scan.first_non_finite), logits[static_cast<size_t>(scan.first_non_finite)]);
  }
  const bool is_whole = base.is_first && mask.empty() && banned.empty() && logits.data() == row_.slots().data();
  if (scan.argmax >= 0) {
    if (is_whole) row_maximum_ = RowMaximum{scan.max, row_.IdOf(scan.argmax)};
    return absl::OkStatus();
  }
  if (!row_maximum_ && !is_whole) {
    ASSIGN_OR_RETURN(row_maximum_, FindMaximum(row_));
  }
  return is_whole ? errors::NoFiniteLogit() : errors::AllTokensExcluded();
}

std::span<const uint64_t> Distribution::AllowedWords(const SamplingParams& params, const StepContext& context) {
  if (params.subset == nullptr)
    return context.allowed == nullptr ? std::span<const uint64_t>() : context.allowed->words();
  const std::span<const uint64_t> words = params.subset->words();
  if (context.allowed == nullptr) return words;
  allowed_words_.assign(words.begin(), words.end());
  for (size_t i = 0; i < words.size(); ++i) allowed_words_[i] &= context.allowed->words()[i];
  return allowed_words_;
}

std::span<const uint64_t> Distribution::InAllowed(std::span<const uint64_t> mask, std::span<const uint64_t> words) {
  if (row_.is_sparse()) {
    const size_t count = row_.slots().size();
    subset_mask_.assign((count + 63) / 64, 0);
    for (size_t slot = 0; slot < count; ++slot) {
      const auto id = static_cast<size_t>(row_.IdOf(static_cast<int32_t>(slot)));
      subset_mask_[slot / 64] |= ((words[id / 64] >> (id % 64)) & 1) << (slot % 64);
    }
  } else if (mask.empty()) {
    return words;
  } else {
    subset_mask_.assign(words.begin(), words.end());
  }
  for (size_t i = 0; i < mask.size(); ++i) subset_mask_[i] &= mask[i];
  return subset_mask_;
}

std::span<const int32_t> Distribution::SlotsOf(std::span<const TokenId> token_ids) {
  if (!row_.is_sparse()) return token_ids;
  slots_.clear();
  for (TokenId token_id : token_ids) {
    if (const int32_t slot = row_.SlotOf(token_id); slot >= 0) slots_.push_back(slot);
  }
  return slots_;
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
  const int32_t slot = row_.SlotOf(token_id);
  if (slot < 0 || !kept_.Contains(slot)) return -std::numeric_limits<double>::infinity();
  return temperature_ == 0 ? 0 : kept_.LogProb(slot);
}

double Distribution::kept_mass() {
  if (temperature_ == 0) return 1;
  // A stage may have taken the maximum out: then the weights are relative to another one.
  const double difference = static_cast<double>(kept_.max()) - static_cast<double>(base_max_);
  const double kept_weight = static_cast<double>(kept_.total_weight());
  return kept_weight * Exp(difference / kept_.temperature()) / static_cast<double>(base_weight_);
}

Draw Distribution::DrawToken(uint64_t uniform) {
  if (temperature_ == 0) return {argmax(), uniform, kUnitWeight, 0, kUnitWeight};
  Draw draw = kept_.DrawToken(uniform);
  draw.token_id = row_.IdOf(draw.token_id);
  return draw;
}

RowStatistics Distribution::ModelStatistics(bool with_entropy) {
  // Assign has seen that the row has a maximum.
  if (!row_maximum_) row_maximum_ = *FindMaximum(row_);
  if (is_models_ && !with_entropy) return StatisticsOf(*row_maximum_, kept_.total_weight());
  return StatisticsOf(row_, *row_maximum_, with_entropy);
}

}  // namespace logitd
