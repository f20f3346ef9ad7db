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

// Which of equal values survive at a cut. Numbers are those of logitd.v1.TieRule.
enum class TieRule {
  // The preset's.
  kDefault = 0,
  // The lower id comes first.
  kLowestId = 1,
  // Everything equal to the last one kept stays.
  kKeepAll = 2,
};

// Where top-p stops. S: the mass of the tokens that the stage before left. Numbers are those of logitd.v1.TopPBoundary.
enum class TopPBoundary {
  // The preset's.
  kDefault = 0,
  // The shortest prefix whose mass is >= ceil(S p (1 - 2^-40)).
  kReached = 1,
  // The shortest prefix whose mass is > S p.
  kExceeded = 2,
  // Ascending: removed while the cumulative mass is <= S (1 - p), the first stays.
  kAscending = 3,
  // As kReached, and everything equal to the last one stays.
  kMassAbove = 4,
};

// The order of the stages, and the rules of their cuts.
struct StageOrder {
  StagePreset preset = StagePreset::kLogitd;
  // Not empty: this order, and LOGITD's rules for those that are kDefault.
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

// Acts on the last token of a sequence whenever the tokens so far (prompt and output) end with those before it.
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
  // The number of last tokens (prompt and output) that are searched, >= 0. Unset: all.
  std::optional<int32_t> window;
  // Sequences that end a match, each of 1 to kMaxDryBreakerTokens tokens.
  std::vector<std::vector<TokenId>> breakers;
};

// With probability `probability`, removes all tokens of at least `threshold` except the last of them.
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

// Thread-compatible value. The defaults draw from the model's own distribution.
struct SamplingParams {
  // 0: greedy. Else in [kMinTemperature, kMaxTemperature].
  double temperature = 1;
  // Keeps the k first tokens, >= 0. 0: off.
  int32_t top_k = 0;
  // Keeps the shortest prefix whose mass reaches p, [0, 1]. 1: off.
  double top_p = 1;
  // Keeps p_i >= min_p * p_max, [0, 1]. 0: off.
  double min_p = 0;
  // The tokens that may be chosen. Null: all. Shared, because many sequences of a stream have the same one.
  std::shared_ptr<const VocabSubset> subset;

  // Locally typical: the shortest prefix, by |-ln p - H|, whose mass reaches it. (0, 1]; 1: off.
  double typical_p = 1;
  // Keeps p_i >= epsilon, [0, 1). 0: off.
  double epsilon_cutoff = 0;
  // Keeps p_i >= min(eta, sqrt(eta) exp(-H)), [0, 1). 0: off.
  double eta_cutoff = 0;
  // Keeps logits >= max - n sigma, [0, 100]. Unset: off.
  std::optional<double> top_n_sigma;
  XtcParams xtc;

  // l > 0 ? l / r : l r, once for each token that occurred. (0, 100]; 1: off.
  double repetition_penalty = 1;
  // l -= f count, [-2, 2]. 0: off.
  double frequency_penalty = 0;
  // l -= p [count > 0], [-2, 2]. 0: off.
  double presence_penalty = 0;
  // The tokens that repetition_penalty and no_repeat_ngram_size look at. Default: prompt and output.
  PenaltyScope repetition_scope = PenaltyScope::kDefault;
  // The tokens that frequency_penalty and presence_penalty look at. Default: output; prompt and output in LLAMA_CPP and
  // TRT_LLM.
  PenaltyScope occurrence_scope = PenaltyScope::kDefault;
  // The three penalties look at this many last tokens of their scope, >= 0. Unset: all.
  std::optional<int32_t> penalty_window;
  // Bans each token that would complete an n-gram that occurred, >= 0. 0: off.
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
