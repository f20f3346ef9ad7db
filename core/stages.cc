#include "core/stages.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/random_stream.h"
#include "core/sampling_checks.h"

namespace logitd {
namespace {

bool RollsXtc(const StageStep& step) {
  const RandomStream random(step.context.seed, step.context.sequence_key, step.context.position, RandomPurpose::kXtc);
  return static_cast<double>(random.Uniform64(0) >> 11) * 0x1p-53 < step.params.xtc.probability;
}

using enum Stage;
using Params = SamplingParams;
using Scope = std::optional<PenaltyScope>;

// In the order of the fields of SamplingParams in the proto, in which Validate checks them.
constexpr StageSpec kStages[] = {
    {.stage = kTokenSets,
     .kind = StageKind::kSet,
     .name = "TOKEN_SETS",
     .field = "allowed_tokens",
     .is_on = [](const Params& p) { return p.subset != nullptr; }},
    {.stage = kMinTokens,
     .kind = StageKind::kEdit,
     .name = "MIN_TOKENS",
     .field = "min_tokens",
     .is_on = [](const Params&) { return false; },
     .apply = [](const StageStep& s) { s.processor.Ban(s.context.excluded); }},
    {.stage = kTemperature,
     .kind = StageKind::kTemperature,
     .name = "TEMPERATURE",
     .field = "temperature",
     .is_on = [](const Params& p) { return p.temperature != 1; },
     .check = [](const Params& p, int32_t) { return CheckTemperature(p.temperature); },
     .apply = [](const StageStep& s) { s.processor.Divide(s.plan.temperature); }},
    {.stage = kTopK,
     .kind = StageKind::kCut,
     .name = "TOP_K",
     .field = "top_k",
     .is_on = [](const Params& p) { return p.top_k > 0; },
     .check = [](const Params& p, int32_t) { return CheckNotNegative("top_k", p.top_k); },
     .apply = [](const StageStep& s) { KeepTopK(s.params.top_k, s.plan.top_k_ties, s.kept); }},
    {.stage = kTopP,
     .kind = StageKind::kCut,
     .name = "TOP_P",
     .field = "top_p",
     .is_on = [](const Params& p) { return p.top_p < 1; },
     .check = [](const Params& p, int32_t) { return CheckClosed("top_p", p.top_p, 0, 1); },
     .apply = [](const StageStep& s) { KeepTopP(s.params.top_p, s.plan.top_p_boundary, s.kept); }},
    {.stage = kMinP,
     .kind = StageKind::kCut,
     .name = "MIN_P",
     .field = "min_p",
     .is_on = [](const Params& p) { return p.min_p > 0; },
     .check = [](const Params& p, int32_t) { return CheckClosed("min_p", p.min_p, 0, 1); },
     .apply = [](const StageStep& s) { KeepMinP(s.params.min_p, s.kept); }},
    {.stage = kRepetitionPenalty,
     .kind = StageKind::kEdit,
     .name = "REPETITION_PENALTY",
     .field = "repetition_penalty",
     .is_on = [](const Params& p) { return p.repetition_penalty != 1; },
     .check = [](const Params& p,
                 int32_t) { return CheckPositive("repetition_penalty", p.repetition_penalty, kMaxRepetitionPenalty); },
     .looks_at = [](const Params& p) -> Scope { return p.RepetitionScope(); },
     .apply = [](const StageStep& s) { s.processor.PenaliseRepetition(s.params, s.context); }},
    {.stage = kFrequencyPenalty,
     .kind = StageKind::kEdit,
     .name = "FREQUENCY_PENALTY",
     .field = "frequency_penalty",
     .is_on = [](const Params& p) { return p.frequency_penalty != 0; },
     .check =
         [](const Params& p, int32_t) {
           return CheckClosed("frequency_penalty", p.frequency_penalty, -kMaxOccurrencePenalty, kMaxOccurrencePenalty);
         },
     .looks_at = [](const Params& p) -> Scope { return p.OccurrenceScope(); },
     .apply = [](const StageStep& s) { s.processor.PenaliseFrequency(s.params, s.context); }},
    {.stage = kPresencePenalty,
     .kind = StageKind::kEdit,
     .name = "PRESENCE_PENALTY",
     .field = "presence_penalty",
     .is_on = [](const Params& p) { return p.presence_penalty != 0; },
     .check =
         [](const Params& p, int32_t) {
           const double most = kMaxOccurrencePenalty;
           RETURN_IF_ERROR(CheckClosed("presence_penalty", p.presence_penalty, -most, most));
           // That of all three penalties.
           return p.penalty_window ? CheckNotNegative("penalty_window", *p.penalty_window) : absl::OkStatus();
         },
     .looks_at = [](const Params& p) -> Scope { return p.OccurrenceScope(); },
     .apply = [](const StageStep& s) { s.processor.PenalisePresence(s.params, s.context); }},
    {.stage = kNoRepeatNgram,
     .kind = StageKind::kEdit,
     .name = "NO_REPEAT_NGRAM",
     .field = "no_repeat_ngram_size",
     .is_on = [](const Params& p) { return p.no_repeat_ngram_size > 0; },
     .check = [](const Params& p, int32_t) { return CheckNotNegative("no_repeat_ngram_size", p.no_repeat_ngram_size); },
     .looks_at = [](const Params& p) -> Scope { return p.RepetitionScope(); },
     .apply = [](const StageStep& s) { s.processor.BanRepeatedNgrams(s.params, s.context); }},
    {.stage = kDry,
     .kind = StageKind::kEdit,
     .name = "DRY",
     .field = "dry",
     .is_on = [](const Params& p) { return p.lists != nullptr && p.lists->dry.multiplier > 0; },
     .check =
         [](const Params& p, int32_t vocab_size) {
           return p.lists == nullptr ? absl::OkStatus() : CheckDry(p.lists->dry, vocab_size);
         },
     .looks_at = [](const Params&) -> Scope { return PenaltyScope::kPromptAndOutput; },
     .apply = [](const StageStep& s) { s.processor.PenaliseDry(s.params.lists, s.context); }},
    {.stage = kLogitBiases,
     .kind = StageKind::kEdit,
     .name = "LOGIT_BIASES",
     .field = "logit_biases",
     .is_on = [](const Params& p) { return p.lists != nullptr && !p.lists->logit_biases.empty(); },
     .check =
         [](const Params& p, int32_t vocab_size) {
           return p.lists == nullptr ? absl::OkStatus() : CheckLogitBiases(p.lists->logit_biases, vocab_size);
         },
     .apply = [](const StageStep& s) { s.processor.AddLogitBiases(s.params.lists->logit_biases); }},
    {.stage = kSequenceBiases,
     .kind = StageKind::kEdit,
     .name = "SEQUENCE_BIASES",
     .field = "sequence_biases",
     .is_on = [](const Params& p) { return p.lists != nullptr && !p.lists->sequence_biases.empty(); },
     .check =
         [](const Params& p, int32_t vocab_size) {
           if (p.lists == nullptr) return absl::OkStatus();
           RETURN_IF_ERROR(CheckSequenceBiases(p.lists->sequence_biases, vocab_size));
           return CheckListTokens(*p.lists);
         },
     .looks_at = [](const Params& p) -> Scope {
       const auto is_long = [](const SequenceBias& bias) { return bias.token_ids.size() > 1; };
       if (!std::ranges::any_of(p.lists->sequence_biases, is_long)) return std::nullopt;
       return p.SequenceScope();
     },
     .apply = [](const StageStep& s) { s.processor.AddSequenceBiases(s.params, s.context); }},
    {.stage = kTypicalP,
     .kind = StageKind::kCut,
     .name = "TYPICAL_P",
     .field = "typical_p",
     .is_on = [](const Params& p) { return p.typical_p < 1; },
     .check = [](const Params& p, int32_t) { return CheckPositive("typical_p", p.typical_p, 1); },
     .apply =
         [](const StageStep& s) {
           KeepTypical(s.params.typical_p, s.plan.typical_boundary, s.plan.typical_ties, s.space, s.kept);
         }},
    {.stage = kEpsilon,
     .kind = StageKind::kCut,
     .name = "EPSILON",
     .field = "epsilon_cutoff",
     .is_on = [](const Params& p) { return p.epsilon_cutoff > 0; },
     .check = [](const Params& p, int32_t) { return CheckCutoff("epsilon_cutoff", p.epsilon_cutoff); },
     .apply = [](const StageStep& s) { KeepEpsilon(s.params.epsilon_cutoff, s.kept); }},
    {.stage = kEta,
     .kind = StageKind::kCut,
     .name = "ETA",
     .field = "eta_cutoff",
     .is_on = [](const Params& p) { return p.eta_cutoff > 0; },
     .check = [](const Params& p, int32_t) { return CheckCutoff("eta_cutoff", p.eta_cutoff); },
     .apply = [](const StageStep& s) { KeepEta(s.params.eta_cutoff, s.kept); }},
    {.stage = kTopNSigma,
     .kind = StageKind::kCut,
     .name = "TOP_N_SIGMA",
     .field = "top_n_sigma",
     .is_on = [](const Params& p) { return p.top_n_sigma.has_value(); },
     .check =
         [](const Params& p, int32_t) {
           return p.top_n_sigma ? CheckClosed("top_n_sigma", *p.top_n_sigma, 0, kMaxTopNSigma) : absl::OkStatus();
         },
     .apply = [](const StageStep& s) { s.kept.KeepAtLeast(s.space.sigma_lowest); }},
    {.stage = kXtc,
     .kind = StageKind::kCut,
     .name = "XTC",
     .field = "xtc",
     .is_on = [](const Params& p) { return p.xtc.probability > 0; },
     .check =
         [](const Params& p, int32_t) {
           RETURN_IF_ERROR(CheckClosed("xtc.probability", p.xtc.probability, 0, 1));
           return CheckPositive("xtc.threshold", p.xtc.threshold, kMaxXtcThreshold);
         },
     .apply =
         [](const StageStep& s) {
           if (RollsXtc(s)) ExcludeTopChoices(s.params.xtc.threshold, s.space, s.kept);
         }},
};
static_assert(std::size(kStages) == kMaxStages);

// [number of a stage - 1]: its row.
constexpr auto kRows = [] {
  std::array<const StageSpec*, kMaxStages> rows{};
  for (const StageSpec& spec : kStages) rows[static_cast<size_t>(spec.stage) - 1] = &spec;
  return rows;
}();

bool IsStage(Stage stage) { return static_cast<int>(stage) >= 1 && static_cast<size_t>(stage) <= kMaxStages; }

bool Contains(std::span<const Stage> stages, Stage stage) { return std::ranges::find(stages, stage) != stages.end(); }

// llama.cpp reads n <= 0 as off, where the definition of top-n-sigma keeps the maximum alone.
bool OffInPreset(Stage stage, const SamplingParams& params) {
  return stage == kTopNSigma && params.order.preset == StagePreset::kLlamaCpp && params.top_n_sigma == 0.0;
}

// clang-format off
constexpr Stage kLogitdStages[] = {
    kTokenSets, kSequenceBiases, kMinTokens, kLogitBiases, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty,
    kDry, kNoRepeatNgram, kTemperature,
    kTopK, kTopP, kMinP, kTypicalP, kEpsilon, kEta, kTopNSigma, kXtc,
};
static_assert(std::size(kLogitdStages) == kMaxStages);

// transformers: GenerationMixin._get_logits_processor. It has no logit bias; a sequence bias of one token is one, and
// comes first. Its bad words and suppressed tokens come after the penalties; the place of a ban does not matter.
constexpr Stage kHfStages[] = {
    kTokenSets, kLogitBiases, kSequenceBiases, kRepetitionPenalty, kNoRepeatNgram, kMinTokens, kTemperature,
    kTopK, kTopP, kMinP, kTypicalP, kEpsilon, kEta,
};

// vLLM: v1/sample/sampler.py; min-p is the one processor that it runs after the temperature and before top-k.
constexpr Stage kVllmStages[] = {
    kTokenSets, kSequenceBiases, kMinTokens, kLogitBiases, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty,
    kTemperature, kMinP, kTopK, kTopP,
};

// llama.cpp: the default of common_params_sampling::samplers, after the logit bias.
constexpr Stage kLlamaCppStages[] = {
    kTokenSets, kMinTokens, kLogitBiases, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty, kDry,
    kTopNSigma, kTopK, kTypicalP, kTopP, kMinP, kXtc, kTemperature,
};

// TensorRT-LLM: the penalty kernel (bias to frequency), then the ban kernels, then the sampling layer.
constexpr Stage kTrtLlmStages[] = {
    kTokenSets, kLogitBiases, kTemperature, kRepetitionPenalty, kPresencePenalty, kFrequencyPenalty,
    kSequenceBiases, kNoRepeatNgram, kMinTokens, kTopK, kTopP, kMinP,
};
// clang-format on

}  // namespace

const StageSpec& SpecOf(Stage stage) { return *kRows[static_cast<size_t>(stage) - 1]; }

std::string_view StageName(Stage stage) { return IsStage(stage) ? SpecOf(stage).name : "UNKNOWN"; }

std::string_view PresetName(StagePreset preset) {
  switch (preset) {
    case StagePreset::kLogitd:
      return "LOGITD";
    case StagePreset::kHf:
      return "HF";
    case StagePreset::kVllm:
      return "VLLM";
    case StagePreset::kLlamaCpp:
      return "LLAMA_CPP";
    case StagePreset::kTrtLlm:
      return "TRT_LLM";
  }
  return "UNKNOWN";
}

std::span<const Stage> StagesOf(StagePreset preset) {
  switch (preset) {
    case StagePreset::kLogitd:
      break;
    case StagePreset::kHf:
      return kHfStages;
    case StagePreset::kVllm:
      return kVllmStages;
    case StagePreset::kLlamaCpp:
      return kLlamaCppStages;
    case StagePreset::kTrtLlm:
      return kTrtLlmStages;
  }
  return kLogitdStages;
}

double TemperatureOf(const SamplingParams& params) {
  if (params.greedy()) return 1;
  return params.temperature + (params.order.preset == StagePreset::kTrtLlm ? 1e-6 : 0);
}

bool HasStages(const SamplingParams& params) {
  return std::ranges::any_of(
      kStages, [&](const StageSpec& spec) { return spec.kind != StageKind::kTemperature && spec.is_on(params); });
}

bool IsNeutral(const SamplingParams& params) {
  return params.temperature == 1 && TemperatureOf(params) == 1 && !HasStages(params);
}

std::optional<Stage> HistoryStage(const SamplingParams& params) {
  for (const StageSpec& spec : kStages) {
    if (spec.looks_at != nullptr && spec.is_on(params) && spec.looks_at(params)) return spec.stage;
  }
  return std::nullopt;
}

bool NeedsPrompt(const SamplingParams& params) {
  return std::ranges::any_of(kStages, [&](const StageSpec& spec) {
    return spec.looks_at != nullptr && spec.is_on(params) &&
           spec.looks_at(params).value_or(PenaltyScope::kOutput) != PenaltyScope::kOutput;
  });
}

bool UsesRandomBits(const SamplingParams& params) { return !params.greedy() || PlanOf(params).Has(kXtc); }

absl::Status Validate(const SamplingParams& params, int32_t vocab_size) {
  for (const StageSpec& spec : kStages) {
    if (spec.check != nullptr) RETURN_IF_ERROR(spec.check(params, vocab_size));
  }
  return ValidateOrder(params);
}

absl::Status ValidateOrder(const SamplingParams& params) {
  const StageOrder& order = params.order;
  if (!order.stages.empty() && order.preset != StagePreset::kLogitd) {
    return errors::Exclusive("stage_order.preset", "stage_order.stages");
  }
  for (size_t i = 0; i < order.stages.size(); ++i) {
    const Stage stage = order.stages[i];
    const std::string field = "stage_order.stages[" + std::to_string(i) + "]";
    if (!IsStage(stage)) {
      return errors::OutOfRange(field, static_cast<int64_t>(stage), "the number of a stage");
    }
    if (Contains(std::span<const Stage>(order.stages).first(i), stage)) {
      return errors::OutOfRange(field, StageName(stage), "a stage that is not there already");
    }
  }
  for (size_t number = 1; number <= kMaxStages; ++number) {
    const auto stage = static_cast<Stage>(number);
    if (!IsOn(params, stage)) continue;
    if (order.stages.empty()) {
      if (Contains(StagesOf(order.preset), stage)) continue;
      return errors::Exclusive(SpecOf(stage).field,
                               std::string("stage_order.preset ").append(PresetName(order.preset)));
    }
    if (!Contains(order.stages, stage)) return errors::MissingFrom("stage_order.stages", StageName(stage));
  }
  return absl::OkStatus();
}

StagePlan::Group StagePlan::group(size_t i) const& {
  const Range& range = groups_[i];
  const std::span<const Stage> all(stages_);
  return {.edits = all.subspan(range.begin, range.edits_end - range.begin),
          .has_temperature = Contains(all.subspan(range.begin, range.cuts_begin - range.begin), kTemperature),
          .cuts = all.subspan(range.cuts_begin, range.end - range.cuts_begin)};
}

bool StagePlan::Has(Stage stage) const { return Contains(stages(), stage); }

StagePlan StagePlan::First(size_t count) const {
  StagePlan plan = *this;
  plan.count_ = std::min(count, count_);
  for (Range& range : plan.groups_) {
    for (size_t* place : {&range.begin, &range.edits_end, &range.cuts_begin, &range.end}) {
      *place = std::min(*place, plan.count_);
    }
  }
  while (plan.group_count_ > 1 && plan.groups_[plan.group_count_ - 1].begin == plan.count_) --plan.group_count_;
  return plan;
}

void StagePlan::MakeGroups() {
  size_t i = 0;
  do {
    Range range{.begin = i, .edits_end = i};
    for (; i < count_ && SpecOf(stages_[i]).kind != StageKind::kCut; ++i) {
      if (stages_[i] != kTemperature) range.edits_end = i + 1;
    }
    range.cuts_begin = i;
    while (i < count_ && SpecOf(stages_[i]).kind == StageKind::kCut) ++i;
    range.end = i;
    groups_[group_count_++] = range;
  } while (i < count_);
}

StagePlan PlanOf(const SamplingParams& params, bool has_step_set) {
  const StageOrder& order = params.order;
  StagePlan plan;
  plan.temperature = TemperatureOf(params);
  if (order.preset == StagePreset::kHf || order.preset == StagePreset::kVllm) {
    plan.top_k_ties = TieRule::kKeepAll;
    plan.top_p_boundary = TopPBoundary::kAscending;
  }
  if (order.preset == StagePreset::kHf) plan.typical_ties = TieRule::kKeepAll;
  if (order.preset == StagePreset::kLlamaCpp) plan.typical_boundary = TopPBoundary::kExceeded;
  if (order.top_k_ties != TieRule::kDefault) plan.top_k_ties = order.top_k_ties;
  if (order.top_p_boundary != TopPBoundary::kDefault) plan.top_p_boundary = order.top_p_boundary;
  if (order.typical_ties != TieRule::kDefault) plan.typical_ties = order.typical_ties;

  const std::span<const Stage> stages =
      order.stages.empty() ? StagesOf(order.preset) : std::span<const Stage>(order.stages);
  if (has_step_set && !Contains(stages, kTokenSets)) plan.Add(kTokenSets);
  if (!Contains(stages, kMinTokens)) plan.Add(kMinTokens);
  bool after_temperature = false;
  for (Stage stage : stages) {
    if (stage == kTemperature) {
      after_temperature = true;
      if (plan.temperature != 1) plan.Add(stage);
      continue;
    }
    if (SpecOf(stage).kind == StageKind::kCut && params.greedy() && after_temperature) continue;
    const bool is_on = IsOn(params, stage) || stage == kMinTokens || (has_step_set && stage == kTokenSets);
    if (is_on && !OffInPreset(stage, params)) plan.Add(stage);
  }
  plan.MakeGroups();
  return plan;
}

}  // namespace logitd
