// How a row becomes a token: the parameters of every stage, their ranges and their defaults ("off").
//
// Source of every rule: docs/numerics.md, sections 2 and 7.
#ifndef LOGITD_CORE_SAMPLING_PARAMS_H_
#define LOGITD_CORE_SAMPLING_PARAMS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "core/stage_order.h"
#include "core/types.h"
#include "core/vocab_subset.h"

namespace logitd {

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

// Which tokens a stage looks at.
enum class PenaltyScope { kDefault = 0, kPromptAndOutput = 1, kOutput = 2, kPrompt = 3 };

// Penalises a token that would go on with a repetition: multiplier * base^(match_length - allowed_length).
struct DryPenalty {
  // Nats, [0, 100]. 0: off.
  double multiplier = 0;
  // [1, 8].
  double base = 1.75;
  // The longest repetition without a penalty is one token shorter. [1, 2^20].
  int32_t allowed_length = 2;
  // How many last tokens (prompt and output) are looked at, >= 0. Unset: all.
  std::optional<int32_t> window;
  // Sequences that end a match, each of 1 to kMaxDryBreakerTokens tokens.
  std::vector<std::vector<TokenId>> breakers;
};

// With probability `probability` removes every token of at least `threshold` but the last of them.
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
  // What repetition_penalty and no_repeat_ngram_size look at. Default: prompt and output.
  PenaltyScope repetition_scope = PenaltyScope::kDefault;
  // What frequency_penalty and presence_penalty look at. Default: output; prompt and output in LLAMA_CPP and TRT_LLM.
  PenaltyScope occurrence_scope = PenaltyScope::kDefault;
  // The three penalties look at so many last tokens of their scope, >= 0. Unset: all.
  std::optional<int32_t> penalty_window;
  // Bans each token that would complete an n-gram that occurred, >= 0. 0: off.
  int32_t no_repeat_ngram_size = 0;
  // Null: no bias and no DRY.
  std::shared_ptr<const SamplingLists> lists;

  StageOrder order;

  bool greedy() const { return temperature == 0; }
  // Whether a stage is on, whatever the order. kTokenSets: a subset; kMinTokens: never, it is the sequence's.
  bool IsOn(Stage stage) const;
  // No stage but the temperature is on.
  bool no_stages() const;
  // Nothing is on: the sampling distribution is the model's. TRT_LLM never is, for it adds to the temperature.
  bool neutral() const { return temperature == 1 && TemperatureOffsetOf(order) == 0 && no_stages(); }
  // The first stage that is on and looks at the tokens so far. Unset: none does.
  std::optional<Stage> HistoryStage() const;
  bool needs_history() const { return HistoryStage().has_value(); }
  // Some stage looks at the prompt.
  bool needs_prompt() const;

  // The scopes with the defaults filled in: never kDefault.
  PenaltyScope RepetitionScope() const;
  PenaltyScope OccurrenceScope() const;
  // What sequence_biases are compared with: prompt and output; in VLLM the output alone.
  PenaltyScope SequenceScope() const;
};

// Whether a step depends on the seed, sequence key and position. Without a temperature nothing is drawn, but XTC, where
// the order has it before TEMPERATURE (LLAMA_CPP), rolls its dice nevertheless.
// REQUIRES: Validate(params, ...) is OK.
bool UsesRandomBits(const SamplingParams& params);

// Errors: FIELD_OUT_OF_RANGE, TOKEN_ID_OUT_OF_RANGE, DUPLICATE_TOKEN_ID, FIELD_REQUIRED, naming the field as
// SamplingParams in the proto does ("temperature", "logit_biases[3].token_id", "sequence_biases[0].token_ids[1]",
// "dry.breakers[2].token_ids", ...); LIMIT_EXCEEDED for lists that are too long; what the order cannot have, see
// stage_order.h. The first field in the order of SamplingParams that is wrong is named.
// REQUIRES: params.subset, if set, is of vocab_size.
absl::Status Validate(const SamplingParams& params, int32_t vocab_size);

}  // namespace logitd

#endif  // LOGITD_CORE_SAMPLING_PARAMS_H_
