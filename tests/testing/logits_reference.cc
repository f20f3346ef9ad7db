#include "tests/testing/logits_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

namespace logitd::testing {
namespace {

using Tokens = std::vector<TokenId>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tokens TokensOf(PenaltyScope scope, const StepContext& context) {
  Tokens tokens;
  if (scope != PenaltyScope::kOutput) tokens.insert(tokens.end(), context.prompt.begin(), context.prompt.end());
  if (scope != PenaltyScope::kPrompt) tokens.insert(tokens.end(), context.output.begin(), context.output.end());
  return tokens;
}

Tokens Last(const Tokens& tokens, std::optional<int32_t> count) {
  if (!count.has_value() || static_cast<size_t>(*count) >= tokens.size()) return tokens;
  return Tokens(tokens.end() - *count, tokens.end());
}

bool EndsWith(const Tokens& tokens, const Tokens& end) {
  return end.size() <= tokens.size() && std::equal(end.begin(), end.end(), tokens.end() - end.size());
}

PenaltyScope OccurrenceScope(const SamplingParams& params) {
  if (params.occurrence_scope != PenaltyScope::kDefault) return params.occurrence_scope;
  const StagePreset preset = params.order.preset;
  const bool all = preset == StagePreset::kLlamaCpp || preset == StagePreset::kTrtLlm;
  return all ? PenaltyScope::kPromptAndOutput : PenaltyScope::kOutput;
}

PenaltyScope RepetitionScope(const SamplingParams& params) {
  const PenaltyScope scope = params.repetition_scope;
  return scope == PenaltyScope::kDefault ? PenaltyScope::kPromptAndOutput : scope;
}

void Ban(TokenId token_id, std::vector<double>& logits) { logits[token_id] = -kInfinity; }

void BanRepeatedNgrams(const SamplingParams& params, const StepContext& context, std::vector<double>& logits) {
  const size_t n = params.no_repeat_ngram_size;
  const Tokens all = TokensOf(PenaltyScope::kPromptAndOutput, context);
  if (all.size() + 1 < n) return;
  const Tokens suffix(all.end() - (n - 1), all.end());
  const Tokens occurred = TokensOf(RepetitionScope(params), context);
  for (size_t start = 0; start + n <= occurred.size(); ++start) {
    if (std::equal(suffix.begin(), suffix.end(), occurred.begin() + start)) Ban(occurred[start + n - 1], logits);
  }
}

void ApplyDry(const DryPenalty& dry, const StepContext& context, std::vector<double>& logits) {
  for (const auto& [token_id, length] : DryMatches(TokensOf(PenaltyScope::kPromptAndOutput, context), dry)) {
    int exponent = length - dry.allowed_length;
    if (dry.base > 1.000001) exponent = std::min(exponent, static_cast<int>(88.7228391 / std::log(dry.base)));
    double power = 1;
    for (int i = 0; i < exponent; ++i) power *= dry.base;
    logits[token_id] -= dry.multiplier * power;
  }
}

}  // namespace

std::map<TokenId, int32_t> DryMatches(const Tokens& tokens, const DryPenalty& dry) {
  std::map<TokenId, int32_t> matches;
  const Tokens window = Last(tokens, dry.window);
  const size_t size = window.size();
  if (size <= static_cast<size_t>(dry.allowed_length)) return matches;

  // The breaker that begins last decides; of several that begin there the longest.
  size_t limit = size;
  for (size_t start = size; start-- > 0 && limit == size;) {
    size_t longest = 0;
    for (const Tokens& breaker : dry.breakers) {
      const bool is_there =
          start + breaker.size() <= size && std::equal(breaker.begin(), breaker.end(), window.begin() + start);
      if (is_there) longest = std::max(longest, breaker.size());
    }
    if (longest == 0) continue;
    limit = size - start - longest;
    break;
  }
  if (limit < static_cast<size_t>(dry.allowed_length)) return matches;

  // `next` came after an earlier occurrence of the last `length` tokens.
  for (size_t next = 1; next < size; ++next) {
    size_t length = 0;
    while (length < next && length < limit && window[next - 1 - length] == window[size - 1 - length]) ++length;
    const Tokens alone = {window[next]};
    if (std::ranges::find(dry.breakers, alone) != dry.breakers.end()) continue;
    if (length < static_cast<size_t>(dry.allowed_length)) continue;
    int32_t& match = matches[window[next]];
    match = std::max(match, static_cast<int32_t>(length));
  }
  return matches;
}

void ApplyLogitsStage(Stage stage, const SamplingParams& params, const StepContext& context,
                      std::vector<double>& logits) {
  const Tokens repeated = Last(TokensOf(RepetitionScope(params), context), params.penalty_window);
  const Tokens occurred = Last(TokensOf(OccurrenceScope(params), context), params.penalty_window);
  switch (stage) {
    case Stage::kMinTokens:
      for (TokenId token_id : context.excluded) Ban(token_id, logits);
      return;
    case Stage::kSequenceBiases: {
      // vLLM compares bad words with the output alone.
      const bool output_alone = params.order.preset == StagePreset::kVllm;
      const Tokens tokens = TokensOf(output_alone ? PenaltyScope::kOutput : PenaltyScope::kPromptAndOutput, context);
      for (const SequenceBias& bias : params.lists->sequence_biases) {
        const TokenId last = bias.token_ids.back();
        if (!EndsWith(tokens, Tokens(bias.token_ids.begin(), bias.token_ids.end() - 1))) continue;
        logits[last] += bias.bias.has_value() ? *bias.bias : -kInfinity;
      }
      return;
    }
    case Stage::kLogitBiases:
      for (const LogitBias& bias : params.lists->logit_biases) logits[bias.token_id] += bias.bias;
      return;
    case Stage::kRepetitionPenalty:
      for (TokenId t : std::set<TokenId>(repeated.begin(), repeated.end())) {
        logits[t] = logits[t] > 0 ? logits[t] / params.repetition_penalty : logits[t] * params.repetition_penalty;
      }
      return;
    case Stage::kFrequencyPenalty:
      for (TokenId t : std::set<TokenId>(occurred.begin(), occurred.end())) {
        logits[t] -= params.frequency_penalty * static_cast<double>(std::ranges::count(occurred, t));
      }
      return;
    case Stage::kPresencePenalty:
      for (TokenId t : std::set<TokenId>(occurred.begin(), occurred.end())) logits[t] -= params.presence_penalty;
      return;
    case Stage::kDry:
      ApplyDry(params.lists->dry, context, logits);
      return;
    case Stage::kNoRepeatNgram:
      BanRepeatedNgrams(params, context, logits);
      return;
    default:
      return;
  }
}

}  // namespace logitd::testing
