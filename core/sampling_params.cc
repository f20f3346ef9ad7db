#include "core/sampling_params.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"

namespace logitd {
namespace {

std::string Element(std::string_view list, size_t index, std::string_view rest = "") {
  return std::string(list).append("[").append(std::to_string(index)).append("]").append(rest);
}

std::string Closed(double low, double high) { return "[" + errors::Show(low) + ", " + errors::Show(high) + "]"; }

// Every test is written so that NaN fails it.
absl::Status CheckClosed(std::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return errors::OutOfRange(field, value, Closed(low, high));
}

// (0, high].
absl::Status CheckPositive(std::string_view field, double value, double high) {
  if (value > 0 && value <= high) return absl::OkStatus();
  return errors::OutOfRange(field, value, "(0, " + errors::Show(high) + "]");
}

// [0, 1): a cut at probability 1 would leave only certain tokens, which is what temperature 0 is for.
absl::Status CheckCutoff(std::string_view field, double value) {
  if (value >= 0 && value < 1) return absl::OkStatus();
  return errors::OutOfRange(field, value, "[0, 1)");
}

absl::Status CheckNotNegative(std::string_view field, int32_t value) {
  if (value >= 0) return absl::OkStatus();
  return errors::OutOfRange(field, int64_t{value}, ">= 0");
}

absl::Status CheckCount(std::string_view field, size_t count, int32_t most, std::string_view limit) {
  if (count <= static_cast<size_t>(most)) return absl::OkStatus();
  return errors::LimitExceeded(field, static_cast<int64_t>(count), "[0, " + std::to_string(most) + "]", limit);
}

absl::Status CheckToken(std::string_view field, TokenId token_id, int32_t vocab_size) {
  if (token_id >= 0 && token_id < vocab_size) return absl::OkStatus();
  return errors::TokenIdOutOfRange(field, token_id, vocab_size);
}

// `field` is the list of ids that must not be empty.
absl::Status CheckTokens(const std::string& field, std::span<const TokenId> token_ids, int32_t vocab_size) {
  if (token_ids.empty()) return errors::Required(field);
  for (size_t i = 0; i < token_ids.size(); ++i) {
    RETURN_IF_ERROR(CheckToken(Element(field, i), token_ids[i], vocab_size));
  }
  return absl::OkStatus();
}

absl::Status CheckLogitBiases(std::span<const LogitBias> biases, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckCount("logit_biases", biases.size(), kMaxLogitBiases, "max_logit_biases"));
  for (size_t i = 0; i < biases.size(); ++i) {
    RETURN_IF_ERROR(CheckToken(Element("logit_biases", i, ".token_id"), biases[i].token_id, vocab_size));
    RETURN_IF_ERROR(CheckClosed(Element("logit_biases", i, ".bias"), biases[i].bias, -kMaxBias, kMaxBias));
  }
  // By token, then by place: of equal tokens the later one is the duplicate.
  std::vector<size_t> order(biases.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](size_t i) { return biases[i].token_id; });
  size_t duplicate = biases.size();
  for (size_t i = 1; i < order.size(); ++i) {
    if (biases[order[i]].token_id == biases[order[i - 1]].token_id) duplicate = std::min(duplicate, order[i]);
  }
  if (duplicate == biases.size()) return absl::OkStatus();
  return errors::DuplicateTokenId(Element("logit_biases", duplicate, ".token_id"), biases[duplicate].token_id);
}

absl::Status CheckSequenceBiases(std::span<const SequenceBias> biases, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckCount("sequence_biases", biases.size(), kMaxSequenceBiases, "max_sequence_biases"));
  for (size_t i = 0; i < biases.size(); ++i) {
    RETURN_IF_ERROR(CheckTokens(Element("sequence_biases", i, ".token_ids"), biases[i].token_ids, vocab_size));
    if (biases[i].bias.has_value()) {
      RETURN_IF_ERROR(CheckClosed(Element("sequence_biases", i, ".bias"), *biases[i].bias, -kMaxBias, kMaxBias));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckDry(const DryPenalty& dry, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckClosed("dry.multiplier", dry.multiplier, 0, kMaxDryMultiplier));
  RETURN_IF_ERROR(CheckClosed("dry.base", dry.base, kMinDryBase, kMaxDryBase));
  if (dry.allowed_length < 1 || dry.allowed_length > kMaxDryAllowedLength) {
    return errors::OutOfRange("dry.allowed_length", int64_t{dry.allowed_length},
                              "[1, " + std::to_string(kMaxDryAllowedLength) + "]");
  }
  if (dry.window.has_value()) RETURN_IF_ERROR(CheckNotNegative("dry.window", *dry.window));
  RETURN_IF_ERROR(CheckCount("dry.breakers", dry.breakers.size(), kMaxDryBreakers, "max_dry_breakers"));
  for (size_t i = 0; i < dry.breakers.size(); ++i) {
    const std::string field = Element("dry.breakers", i, ".token_ids");
    RETURN_IF_ERROR(CheckCount(field, dry.breakers[i].size(), kMaxDryBreakerTokens, "max_dry_breaker_tokens"));
    RETURN_IF_ERROR(CheckTokens(field, dry.breakers[i], vocab_size));
  }
  return absl::OkStatus();
}

absl::Status CheckLists(const SamplingLists& lists, int32_t vocab_size) {
  RETURN_IF_ERROR(CheckDry(lists.dry, vocab_size));
  RETURN_IF_ERROR(CheckLogitBiases(lists.logit_biases, vocab_size));
  RETURN_IF_ERROR(CheckSequenceBiases(lists.sequence_biases, vocab_size));
  size_t sequence_tokens = 0, breaker_tokens = 0;
  for (const SequenceBias& bias : lists.sequence_biases) sequence_tokens += bias.token_ids.size();
  for (const std::vector<TokenId>& breaker : lists.dry.breakers) breaker_tokens += breaker.size();
  const size_t token_count = sequence_tokens + breaker_tokens;
  if (token_count <= static_cast<size_t>(kMaxListTokens)) return absl::OkStatus();
  return errors::LimitExceeded(
      sequence_tokens >= breaker_tokens ? "sequence_biases" : "dry.breakers", static_cast<int64_t>(token_count),
      "[0, " + std::to_string(kMaxListTokens) + "] tokens in sequence_biases and dry.breakers", "max_list_tokens");
}

bool HasPrompt(PenaltyScope scope) { return scope != PenaltyScope::kOutput; }

bool HasLongSequence(const SamplingLists* lists) {
  return lists != nullptr && std::ranges::any_of(lists->sequence_biases,
                                                 [](const SequenceBias& bias) { return bias.token_ids.size() > 1; });
}

}  // namespace

bool SamplingParams::IsOn(Stage stage) const {
  switch (stage) {
    case Stage::kTokenSets:
      return subset != nullptr;
    case Stage::kMinTokens:
      return false;
    case Stage::kSequenceBiases:
      return lists != nullptr && !lists->sequence_biases.empty();
    case Stage::kLogitBiases:
      return lists != nullptr && !lists->logit_biases.empty();
    case Stage::kRepetitionPenalty:
      return repetition_penalty != 1;
    case Stage::kFrequencyPenalty:
      return frequency_penalty != 0;
    case Stage::kPresencePenalty:
      return presence_penalty != 0;
    case Stage::kDry:
      return lists != nullptr && lists->dry.multiplier > 0;
    case Stage::kNoRepeatNgram:
      return no_repeat_ngram_size > 0;
    case Stage::kTemperature:
      return temperature != 1;
    case Stage::kTopK:
      return top_k > 0;
    case Stage::kTopP:
      return top_p < 1;
    case Stage::kMinP:
      return min_p > 0;
    case Stage::kTypicalP:
      return typical_p < 1;
    case Stage::kEpsilon:
      return epsilon_cutoff > 0;
    case Stage::kEta:
      return eta_cutoff > 0;
    case Stage::kTopNSigma:
      return top_n_sigma.has_value();
    case Stage::kXtc:
      return xtc.probability > 0;
  }
  return false;
}

bool SamplingParams::no_stages() const {
  return std::ranges::none_of(StagesOf(StagePreset::kLogitd),
                              [this](Stage stage) { return stage != Stage::kTemperature && IsOn(stage); });
}

PenaltyScope SamplingParams::RepetitionScope() const {
  return repetition_scope == PenaltyScope::kDefault ? PenaltyScope::kPromptAndOutput : repetition_scope;
}

PenaltyScope SamplingParams::OccurrenceScope() const {
  if (occurrence_scope != PenaltyScope::kDefault) return occurrence_scope;
  const bool prompt_too = order.preset == StagePreset::kLlamaCpp || order.preset == StagePreset::kTrtLlm;
  return prompt_too ? PenaltyScope::kPromptAndOutput : PenaltyScope::kOutput;
}

PenaltyScope SamplingParams::SequenceScope() const {
  return order.preset == StagePreset::kVllm ? PenaltyScope::kOutput : PenaltyScope::kPromptAndOutput;
}

std::optional<Stage> SamplingParams::HistoryStage() const {
  for (Stage stage : {Stage::kRepetitionPenalty, Stage::kFrequencyPenalty, Stage::kPresencePenalty,
                      Stage::kNoRepeatNgram, Stage::kDry}) {
    if (IsOn(stage)) return stage;
  }
  if (HasLongSequence(lists.get())) return Stage::kSequenceBiases;
  return std::nullopt;
}

bool SamplingParams::needs_prompt() const {
  const bool repetition = IsOn(Stage::kRepetitionPenalty) || IsOn(Stage::kNoRepeatNgram);
  const bool occurrences = IsOn(Stage::kFrequencyPenalty) || IsOn(Stage::kPresencePenalty);
  return (repetition && HasPrompt(RepetitionScope())) || (occurrences && HasPrompt(OccurrenceScope())) ||
         IsOn(Stage::kDry) || (HasLongSequence(lists.get()) && HasPrompt(SequenceScope()));
}

bool UsesRandomBits(const SamplingParams& params) {
  if (!params.greedy()) return true;
  const StagePlan plan = PlanOf(params);
  return std::ranges::find(plan.stages(), Stage::kXtc) != plan.stages().end();
}

absl::Status Validate(const SamplingParams& params, int32_t vocab_size) {
  const double temperature = params.temperature;
  if (!(temperature == 0 || (temperature >= kMinTemperature && temperature <= kMaxTemperature))) {
    return errors::OutOfRange("temperature", temperature, "0 or in " + Closed(kMinTemperature, kMaxTemperature));
  }
  RETURN_IF_ERROR(CheckNotNegative("top_k", params.top_k));
  RETURN_IF_ERROR(CheckClosed("top_p", params.top_p, 0, 1));
  RETURN_IF_ERROR(CheckClosed("min_p", params.min_p, 0, 1));
  RETURN_IF_ERROR(CheckPositive("repetition_penalty", params.repetition_penalty, kMaxRepetitionPenalty));
  const double most = kMaxOccurrencePenalty;
  RETURN_IF_ERROR(CheckClosed("frequency_penalty", params.frequency_penalty, -most, most));
  RETURN_IF_ERROR(CheckClosed("presence_penalty", params.presence_penalty, -most, most));
  if (params.penalty_window.has_value()) RETURN_IF_ERROR(CheckNotNegative("penalty_window", *params.penalty_window));
  RETURN_IF_ERROR(CheckNotNegative("no_repeat_ngram_size", params.no_repeat_ngram_size));
  if (params.lists != nullptr) RETURN_IF_ERROR(CheckLists(*params.lists, vocab_size));
  RETURN_IF_ERROR(CheckPositive("typical_p", params.typical_p, 1));
  RETURN_IF_ERROR(CheckCutoff("epsilon_cutoff", params.epsilon_cutoff));
  RETURN_IF_ERROR(CheckCutoff("eta_cutoff", params.eta_cutoff));
  if (params.top_n_sigma.has_value()) {
    RETURN_IF_ERROR(CheckClosed("top_n_sigma", *params.top_n_sigma, 0, kMaxTopNSigma));
  }
  RETURN_IF_ERROR(CheckClosed("xtc.probability", params.xtc.probability, 0, 1));
  RETURN_IF_ERROR(CheckPositive("xtc.threshold", params.xtc.threshold, kMaxXtcThreshold));
  return ValidateOrder(params);
}

}  // namespace logitd
