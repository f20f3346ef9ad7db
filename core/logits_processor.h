// Applies the stages that change logits or ban tokens one by one: bans, biases and penalties.
//
//   LogitsProcessor processor;                           // reused for every row: it keeps its buffers
//   processor.Begin(row);
//   processor.PenaliseRepetition(params, context);       // the stages, in their order
//   processor.Finish();
//   for (const LogitEdit& edit : processor.edits()) ...  // the new logit of each token that has one
//   for (TokenId token_id : processor.banned()) ...      // tokens that may not be chosen at this step
//
// Only tokens that a stage touches cost time. Source: docs/numerics.md, section 7.
#ifndef LOGITD_CORE_LOGITS_PROCESSOR_H_
#define LOGITD_CORE_LOGITS_PROCESSOR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/dry.h"
#include "core/logits_row.h"
#include "core/sampling_params.h"
#include "core/types.h"
#include "core/vocab_subset.h"

namespace logitd {

// The inputs of a step's stages besides the row. Views: they must outlive the step.
struct StepContext {
  // Empty is allowed unless NeedsPrompt(params) (core/stages.h).
  std::span<const TokenId> prompt;
  // The tokens chosen so far; empty is allowed unless NeedsHistory(params).
  std::span<const TokenId> output;
  // Tokens that min_tokens excludes at this step, any order.
  std::span<const TokenId> excluded;
  // The tokens that TOKEN_SETS allows at this step, besides the sequence's own sets. Null: all of them.
  const VocabSubset* allowed = nullptr;
  // Those of the draw, for XTC.
  uint64_t seed = 0;
  uint64_t sequence_key = 0;
  int32_t position = 0;
};

struct LogitEdit {
  TokenId token_id = 0;
  float logit = 0;
};

// Thread-compatible: working space of one thread. The result is a function of the arguments alone.
class LogitsProcessor {
 public:
  // Starts over. `divisor`: the temperature in force already, > 0; the stages work on logits divided by it.
  // REQUIRES: the row has no NaN and no +inf. All functions below REQUIRE Validate(params, vocab_size).ok() and ids of
  // `context` in range.
  // Time of a step: O(tokens looked at + tokens in lists + tokens touched). DRY adds O(log(breakers)) for each token
  // that begins a longer breaker, and a sort of the breakers when the lists change. No allocation once warm. Memory: 5
  // bytes for each token of the largest vocabulary, 40 for each token touched, 24 for each token looked at.
  void Begin(const LogitsRow& row, double divisor = 1);
  void Ban(std::span<const TokenId> token_ids);
  void AddSequenceBiases(const SamplingParams& params, const StepContext& context);
  void AddLogitBiases(std::span<const LogitBias> biases);
  void PenaliseRepetition(const SamplingParams& params, const StepContext& context);
  void PenaliseFrequency(const SamplingParams& params, const StepContext& context);
  void PenalisePresence(const SamplingParams& params, const StepContext& context);
  void PenaliseDry(const std::shared_ptr<const SamplingLists>& lists, const StepContext& context);
  void BanRepeatedNgrams(const SamplingParams& params, const StepContext& context);
  // Later stages work on l / T (TRT_LLM). Finish multiplies by T again, so that edits are in the unit of the row and
  // the temperature is applied once, by whoever draws.
  void Divide(double temperature);
  // Makes the edits. A logit passes the stages in f64; Finish rounds it to f32 once, and clamps it to +-FLT_MAX. A
  // logit of -inf stays -inf: no bias brings an excluded token back.
  void Finish();

  // The tokens with a new logit. Distinct ids, none of them banned, in no particular order.
  std::span<const LogitEdit> edits() const { return edits_; }
  // Distinct ids, in no particular order. Their logit in the row may be -inf.
  std::span<const TokenId> banned() const { return banned_; }

 private:
  // A token that some stage touched.
  struct Touched {
    TokenId token_id = 0;
    // Its occurrences among the tokens that were counted last.
    int32_t count = 0;
    // The longest repetition that it would continue. 0: none.
    int32_t match_length = 0;
    bool banned = false;
    // After the stages so far, divided by divisor_.
    double logit = 0;
  };

  // Its index in touched_, where it is added if it is missing.
  size_t Touch(TokenId token_id);
  void Ban(TokenId token_id);
  // Makes counted_ and the counts those of the last params.penalty_window tokens of `scope`.
  void Count(PenaltyScope scope, const SamplingParams& params, const StepContext& context);
  // breakers_, made of these lists.
  const DryBreakers& BreakersOf(const std::shared_ptr<const SamplingLists>& lists);

  LogitsRow row_;
  double divisor_ = 1;
  std::vector<Touched> touched_;
  // 1 + the place in touched_, 0 for a token that is not there. [vocab_size]; all 0 between calls.
  std::vector<int32_t> index_;
  // Places in touched_ of the tokens with a count, each once.
  std::vector<int32_t> counted_;
  PenaltyScope counted_scope_ = PenaltyScope::kDefault;
  DryMatcher dry_matcher_;
  // The sorted breakers of the latest lists. Lists are immutable, so the same lists have the same breakers.
  DryBreakers breakers_;
  std::weak_ptr<const SamplingLists> breakers_lists_;
  // base^0, base^1, ... of DRY's latest base.
  std::vector<double> powers_;
  double powers_base_ = 1;
  std::vector<int32_t> suffix_matches_;
  std::vector<LogitEdit> edits_;
  std::vector<TokenId> banned_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_LOGITS_PROCESSOR_H_
