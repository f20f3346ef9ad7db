// The parameters that turn a row into a token: those of every stage, with their ranges and defaults ("off"), and the
// order of the stages. core/stages.h applies them.
//
// Source of every rule: docs/numerics.md, sections 2 and 7.
#ifndef LOGITD_CORE_SAMPLING_PARAMS_H_
#define LOGITD_CORE_SAMPLING_PARAMS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/types.h"
#include "core/vocab_subset.h"

namespace logitd {

// Numbers are those of logitd.v1.Stage.
enum class Stage {
  kTokenSets = 1,
  kMinTokens = 2,
  kSequenceBiases = 3,
  kLogitBiases = 4,
  kRepetitionPenalty = 5,
  kFrequencyPenalty = 6,
  kPresencePenalty = 7,
  kDry = 8,
  kNoRepeatNgram = 9,
  kTemperature = 10,
  kTopK = 11,
  kTopP = 12,
  kMinP = 13,
  kTypicalP = 14,
  kEpsilon = 15,
  kEta = 16,
  kTopNSigma = 17,
  kXtc = 18,
};
inline constexpr size_t kMaxStages = 18;

// Numbers are those of logitd.v1.StagePreset.
enum class StagePreset { kLogitd = 1, kHf = 2, kVllm = 3, kLlamaCpp = 4, kTrtLlm = 5 };

// Which tokens survive if equal values lie at a cut. Numbers are those of logitd.v1.TieRule.
enum class TieRule {
  // The preset's.
  kDefault = 0,
  // Tokens with lower ids are kept first.
  kLowestId = 1,
  // Every token tied with the last kept one is kept too.
  kKeepAll = 2,
};

// Where top-p stops. S is the total mass of the tokens that the stage before left, an integer (docs/numerics.md,
// section 1). Numbers are those of logitd.v1.TopPBoundary.
enum class TopPBoundary {
  // The preset's.
  kDefault = 0,
  // The shortest prefix whose mass is >= ceil(S p (1 - 2^-40)).
  kReached = 1,
  // The shortest prefix whose mass is > S p.
  kExceeded = 2,
  // From the least likely token up, tokens are removed while their cumulative mass is <= S (1 - p). The most likely one
  // stays.
  kAscending = 3,
  // As kReached, and every token tied with the last kept one is kept too.
  kMassAbove = 4,
};

// The order of the stages, and the rules of their cuts.
struct StageOrder {
  StagePreset preset = StagePreset::kLogitd;
  // If not empty, this order replaces the preset's; rules left at kDefault are then those of LOGITD.
  std::vector<Stage> stages;
  TieRule top_k_ties = TieRule::kDefault;
  TopPBoundary top_p_boundary = TopPBoundary::kDefault;
  TieRule typical_ties = TieRule::kDefault;
};

// Adds `bias` nats, [-100, 100], to the logit of one token.
struct LogitBias {
  TokenId token_id = 0;
  double bias = 0;
};

// Acts on the last token of `token_ids` whenever the tokens so far (SequenceScope) end with the ones before it.
struct SequenceBias {
  // At least one token.
  std::vector<TokenId> token_ids;
  // Nats, [-100, 100], added to the logit of the last token. Unset: the last token is banned ("bad words").
  std::optional<double> bias;
};

// The tokens that a stage looks at.
enum class PenaltyScope { kDefault = 0, kPromptAndOutput = 1, kOutput = 2, kPrompt = 3 };

// Penalises a token that would continue a repetition: multiplier * base^(match_length - allowed_length).
struct DryPenalty {
  // Nats, [0, 100]. 0: off.
  double multiplier = 0;
  // [1, 8].
  double base = 1.75;
  // Matches of at least this length are penalised. [1, 2^20].
  int32_t allowed_length = 2;
  // The number of most recent tokens (prompt and output) that are searched, >= 0. Unset: all.
  std::optional<int32_t> window;
  // Sequences that end a match, each of 1 to kMaxDryBreakerTokens tokens.
  std::vector<std::vector<TokenId>> breakers;
};

// With probability `probability`, removes every token whose probability is at least `threshold`, except the least
// likely of them.
struct XtcParams {
  // [0, 1]. 0: off.
  double probability = 0;
  // (0, 0.5].
  double threshold = 0.1;
};

// The lists among the parameters. Shared, because many sequences of a stream have the same ones; immutable.
struct SamplingLists {
  std::vector<LogitBias> logit_biases;
  std::vector<SequenceBias> sequence_biases;
  DryPenalty dry;
};

// Thread-compatible value. The defaults draw from the model's own distribution. In the comments p_i is a token's
// probability and H the entropy when the stage runs, and l is a logit. Every cut keeps at least one token.
struct SamplingParams {
  // 0: greedy. Else in [kMinTemperature, kMaxTemperature].
  double temperature = 1;
  // Keeps the first k tokens. Range: >= 0. 0: off.
  int32_t top_k = 0;
  // Keeps the shortest prefix (most likely tokens first) whose mass reaches p. Range: [0, 1]. 1: off.
  double top_p = 1;
  // Keeps p_i >= min_p * p_max. Range: [0, 1]. 0: off.
  double min_p = 0;
  // The tokens that may be chosen (Stage::kTokenSets). Null: all. Shared, because many sequences of a stream have the
  // same set.
  std::shared_ptr<const VocabSubset> subset;

  // Locally typical: in ascending order of |-ln p_i - H|, keeps the shortest prefix whose mass reaches typical_p.
  // Range: (0, 1]. 1: off.
  double typical_p = 1;
  // Keeps p_i >= epsilon. Range: [0, 1). 0: off.
  double epsilon_cutoff = 0;
  // Keeps p_i >= min(eta, sqrt(eta) exp(-H)). Range: [0, 1). 0: off.
  double eta_cutoff = 0;
  // Keeps logits >= max - n sigma, where sigma is their standard deviation. Range: [0, 100]. Unset: off.
  std::optional<double> top_n_sigma;
  XtcParams xtc;

  // l > 0 ? l / r : l * r, once for each token that occurred. Range: (0, 100]. 1: off.
  double repetition_penalty = 1;
  // l -= f * count. Range: [-2, 2]. 0: off.
  double frequency_penalty = 0;
  // l -= p if count > 0. Range: [-2, 2]. 0: off.
  double presence_penalty = 0;
  // The tokens that repetition_penalty and no_repeat_ngram_size look at. Default: prompt and output.
  PenaltyScope repetition_scope = PenaltyScope::kDefault;
  // The tokens that frequency_penalty and presence_penalty look at. Default: output; prompt and output in LLAMA_CPP and
  // TRT_LLM.
  PenaltyScope occurrence_scope = PenaltyScope::kDefault;
  // The three penalties above look at this many of the most recent tokens in their scope, >= 0. Unset: all.
  std::optional<int32_t> penalty_window;
  // Bans each token that would complete an n-gram that occurred before. Range: n >= 0. 0: off.
  int32_t no_repeat_ngram_size = 0;
  // Null: no bias and no DRY.
  std::shared_ptr<const SamplingLists> lists;

  StageOrder order;

  bool greedy() const { return temperature == 0; }

  // The scopes with the defaults filled in: never kDefault.
  PenaltyScope RepetitionScope() const {
    return repetition_scope == PenaltyScope::kDefault ? PenaltyScope::kPromptAndOutput : repetition_scope;
  }
  PenaltyScope OccurrenceScope() const {
    if (occurrence_scope != PenaltyScope::kDefault) return occurrence_scope;
    const bool prompt_too = order.preset == StagePreset::kLlamaCpp || order.preset == StagePreset::kTrtLlm;
    return prompt_too ? PenaltyScope::kPromptAndOutput : PenaltyScope::kOutput;
  }
  // The tokens that sequence_biases are compared with: prompt and output; in VLLM the output alone.
  PenaltyScope SequenceScope() const {
    return order.preset == StagePreset::kVllm ? PenaltyScope::kOutput : PenaltyScope::kPromptAndOutput;
  }
};

}  // namespace logitd

#endif  // LOGITD_CORE_SAMPLING_PARAMS_H_
