#include "core/stage_order.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "core/errors.h"
#include "core/sampling_params.h"

namespace logitd {
namespace {

constexpr Stage kAllStages[] = {
    Stage::kTokenSets,
    Stage::kMinTokens,
    Stage::kSequenceBiases,
    Stage::kLogitBiases,
    Stage::kRepetitionPenalty,
    Stage::kFrequencyPenalty,
    Stage::kPresencePenalty,
    Stage::kDry,
    Stage::kNoRepeatNgram,
    Stage::kTemperature,
    Stage::kTopK,
    Stage::kTopP,
    Stage::kMinP,
    Stage::kTypicalP,
    Stage::kEpsilon,
    Stage::kEta,
    Stage::kTopNSigma,
    Stage::kXtc,
};
static_assert(std::size(kAllStages) == kMaxStages);

constexpr Stage kLogitdStages[] = {
    Stage::kTokenSets,
    Stage::kSequenceBiases,
    Stage::kMinTokens,
    Stage::kLogitBiases,
    Stage::kRepetitionPenalty,
    Stage::kFrequencyPenalty,
    Stage::kPresencePenalty,
    Stage::kDry,
    Stage::kNoRepeatNgram,
    Stage::kTemperature,
    Stage::kTopK,
    Stage::kTopP,
    Stage::kMinP,
    Stage::kTypicalP,
    Stage::kEpsilon,
    Stage::kEta,
    Stage::kTopNSigma,
    Stage::kXtc,
};
static_assert(std::size(kLogitdStages) == kMaxStages);

// transformers: GenerationMixin._get_logits_processor. It has no logit bias; a sequence bias of one token is one, and
// comes first. Its bad words and suppressed tokens come after the penalties; where a ban stands does not matter.
constexpr Stage kHfStages[] = {
    Stage::kTokenSets,     Stage::kLogitBiases, Stage::kSequenceBiases, Stage::kRepetitionPenalty,
    Stage::kNoRepeatNgram, Stage::kMinTokens,   Stage::kTemperature,    Stage::kTopK,
    Stage::kTopP,          Stage::kMinP,        Stage::kTypicalP,       Stage::kEpsilon,
    Stage::kEta,
};

// vLLM: v1/sample/sampler.py; min-p is the one processor that it runs after the temperature and before top-k.
constexpr Stage kVllmStages[] = {
    Stage::kTokenSets,
    Stage::kSequenceBiases,
    Stage::kMinTokens,
    Stage::kLogitBiases,
    Stage::kRepetitionPenalty,
    Stage::kFrequencyPenalty,
    Stage::kPresencePenalty,
    Stage::kTemperature,
    Stage::kMinP,
    Stage::kTopK,
    Stage::kTopP,
};

// llama.cpp: the default of common_params_sampling::samplers, after the logit bias.
constexpr Stage kLlamaCppStages[] = {
    Stage::kTokenSets,
    Stage::kMinTokens,
    Stage::kLogitBiases,
    Stage::kRepetitionPenalty,
    Stage::kFrequencyPenalty,
    Stage::kPresencePenalty,
    Stage::kDry,
    Stage::kTopNSigma,
    Stage::kTopK,
    Stage::kTypicalP,
    Stage::kTopP,
    Stage::kMinP,
    Stage::kXtc,
    Stage::kTemperature,
};

// TensorRT-LLM: the penalty kernel (bias to frequency), then the ban kernels, then the sampling layer.
constexpr Stage kTrtLlmStages[] = {
    Stage::kTokenSets,
    Stage::kLogitBiases,
    Stage::kTemperature,
    Stage::kRepetitionPenalty,
    Stage::kPresencePenalty,
    Stage::kFrequencyPenalty,
    Stage::kSequenceBiases,
    Stage::kNoRepeatNgram,
    Stage::kMinTokens,
    Stage::kTopK,
    Stage::kTopP,
    Stage::kMinP,
};

// The field of SamplingParams that turns a stage on.
std::string_view FieldOf(Stage stage) {
  switch (stage) {
    case Stage::kTokenSets:
      return "allowed_tokens";
    case Stage::kMinTokens:
      return "min_tokens";
    case Stage::kSequenceBiases:
      return "sequence_biases";
    case Stage::kLogitBiases:
      return "logit_biases";
    case Stage::kRepetitionPenalty:
      return "repetition_penalty";
    case Stage::kFrequencyPenalty:
      return "frequency_penalty";
    case Stage::kPresencePenalty:
      return "presence_penalty";
    case Stage::kDry:
      return "dry";
    case Stage::kNoRepeatNgram:
      return "no_repeat_ngram_size";
    case Stage::kTemperature:
      return "temperature";
    case Stage::kTopK:
      return "top_k";
    case Stage::kTopP:
      return "top_p";
    case Stage::kMinP:
      return "min_p";
    case Stage::kTypicalP:
      return "typical_p";
    case Stage::kEpsilon:
      return "epsilon_cutoff";
    case Stage::kEta:
      return "eta_cutoff";
    case Stage::kTopNSigma:
      return "top_n_sigma";
    case Stage::kXtc:
      return "xtc";
  }
  return "stage_order";
}

bool Contains(std::span<const Stage> stages, Stage stage) { return std::ranges::find(stages, stage) != stages.end(); }

// llama.cpp reads n <= 0 as off, where the definition of top-n-sigma keeps the maximum alone.
bool OffInPreset(Stage stage, const SamplingParams& params) {
  return stage == Stage::kTopNSigma && params.order.preset == StagePreset::kLlamaCpp && params.top_n_sigma == 0.0;
}

}  // namespace

std::string_view StageName(Stage stage) {
  switch (stage) {
    case Stage::kTokenSets:
      return "TOKEN_SETS";
    case Stage::kMinTokens:
      return "MIN_TOKENS";
    case Stage::kSequenceBiases:
      return "SEQUENCE_BIASES";
    case Stage::kLogitBiases:
      return "LOGIT_BIASES";
    case Stage::kRepetitionPenalty:
      return "REPETITION_PENALTY";
    case Stage::kFrequencyPenalty:
      return "FREQUENCY_PENALTY";
    case Stage::kPresencePenalty:
      return "PRESENCE_PENALTY";
    case Stage::kDry:
      return "DRY";
    case Stage::kNoRepeatNgram:
      return "NO_REPEAT_NGRAM";
    case Stage::kTemperature:
      return "TEMPERATURE";
    case Stage::kTopK:
      return "TOP_K";
    case Stage::kTopP:
      return "TOP_P";
    case Stage::kMinP:
      return "MIN_P";
    case Stage::kTypicalP:
      return "TYPICAL_P";
    case Stage::kEpsilon:
      return "EPSILON";
    case Stage::kEta:
      return "ETA";
    case Stage::kTopNSigma:
      return "TOP_N_SIGMA";
    case Stage::kXtc:
      return "XTC";
  }
  return "UNKNOWN";
}

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

double TemperatureOffsetOf(const StageOrder& order) { return order.preset == StagePreset::kTrtLlm ? 1e-6 : 0; }

bool ChangesLogits(Stage stage) { return stage >= Stage::kMinTokens && stage <= Stage::kNoRepeatNgram; }

StagePlan PlanOf(const SamplingParams& params, bool has_step_set) {
  const StageOrder& order = params.order;
  StagePlan plan;
  if (order.preset == StagePreset::kHf || order.preset == StagePreset::kVllm) {
    plan.top_k_ties = TieRule::kKeepAll;
    plan.top_p_boundary = TopPBoundary::kAscending;
  }
  if (order.preset == StagePreset::kHf) plan.typical_ties = TieRule::kKeepAll;
  if (order.preset == StagePreset::kLlamaCpp) plan.typical_boundary = TopPBoundary::kExceeded;
  if (order.top_k_ties != TieRule::kDefault) plan.top_k_ties = order.top_k_ties;
  if (order.top_p_boundary != TopPBoundary::kDefault) plan.top_p_boundary = order.top_p_boundary;
  if (order.typical_ties != TieRule::kDefault) plan.typical_ties = order.typical_ties;
  plan.temperature_offset = TemperatureOffsetOf(order);

  const std::span<const Stage> stages =
      order.stages.empty() ? StagesOf(order.preset) : std::span<const Stage>(order.stages);
  if (has_step_set && !Contains(stages, Stage::kTokenSets)) plan.Add(Stage::kTokenSets);
  if (!Contains(stages, Stage::kMinTokens)) plan.Add(Stage::kMinTokens);
  bool after_temperature = false;
  for (Stage stage : stages) {
    if (stage == Stage::kTemperature) {
      after_temperature = true;
      if (!params.greedy() && params.temperature + plan.temperature_offset != 1) plan.Add(stage);
      continue;
    }
    const bool is_cut = !ChangesLogits(stage) && stage != Stage::kTokenSets;
    if (is_cut && params.greedy() && after_temperature) continue;
    const bool is_on = params.IsOn(stage) || stage == Stage::kMinTokens || (has_step_set && stage == Stage::kTokenSets);
    if (is_on && !OffInPreset(stage, params)) plan.Add(stage);
  }
  return plan;
}

absl::Status ValidateOrder(const SamplingParams& params) {
  const StageOrder& order = params.order;
  if (!order.stages.empty() && order.preset != StagePreset::kLogitd) {
    return errors::Exclusive("stage_order.preset", "stage_order.stages");
  }
  for (size_t i = 0; i < order.stages.size(); ++i) {
    const Stage stage = order.stages[i];
    const std::string field = "stage_order.stages[" + std::to_string(i) + "]";
    if (!Contains(kAllStages, stage)) {
      return errors::OutOfRange(field, static_cast<int64_t>(stage), "the number of a stage");
    }
    if (Contains(std::span<const Stage>(order.stages).first(i), stage)) {
      return errors::OutOfRange(field, StageName(stage), "a stage that is not there already");
    }
  }
  for (Stage stage : kAllStages) {
    if (!params.IsOn(stage)) continue;
    if (order.stages.empty()) {
      if (Contains(StagesOf(order.preset), stage)) continue;
      return errors::Exclusive(FieldOf(stage), std::string("stage_order.preset ").append(PresetName(order.preset)));
    }
    if (!Contains(order.stages, stage)) return errors::MissingFrom("stage_order.stages", StageName(stage));
  }
  return absl::OkStatus();
}

}  // namespace logitd
