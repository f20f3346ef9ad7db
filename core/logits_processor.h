// The stages that change logits or take tokens out one by one: bans, biases and penalties.
//
//   LogitsProcessor processor;                              // reused for every row: it keeps its buffers
//   processor.Process(row, group, params, context);
//   for (const LogitEdit& edit : processor.edits()) ...     // the new logit of each token that has one
//   for (TokenId token_id : processor.banned()) ...         // tokens that may not be chosen at this step
//
// Only the tokens that a stage touches cost anything. Source: docs/numerics.md, section 8.
#ifndef LOGITD_CORE_LOGITS_PROCESSOR_H_
#define LOGITD_CORE_LOGITS_PROCESSOR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/sampling_params.h"
#include "core/stage_order.h"
#include "core/types.h"

namespace logitd {

// What a step's stages may look at besides the row. Views: they must outlive the step.
struct StepContext {
  // Empty is allowed unless params.needs_prompt().
  std::span<const TokenId> prompt;
  // The tokens chosen so far; empty is allowed unless params.needs_history().
  std::span<const TokenId> output;
  // Tokens that min_tokens excludes at this step, any order.
  std::span<const TokenId> excluded;
  // The draw's, for XTC.
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
  // Applies `stages`, in their order: all of them from kMinTokens to kNoRepeatNgram (not kTokenSets).
  // A token's logit goes through them in f64 and is rounded to f32 once, at the end, and clamped to +-FLT_MAX. A logit
  // of -inf stays -inf: no bias brings an excluded token back.
  // Shapes: row [vocab_size], no NaN, no +inf. REQUIRES: Validate(params, vocab_size).ok(), ids of `context` in range.
  // Time: O(tokens looked at + tokens touched). No allocation once warm.
  void Process(LogitsView row, std::span<const Stage> stages, const SamplingParams& params, const StepContext& context);

  // Distinct ids, none of them banned, in no particular order.
  std::span<const LogitEdit> edits() const { return edits_; }
  // May repeat an id.
  std::span<const TokenId> banned() const { return banned_; }

 private:
  std::vector<LogitEdit> edits_;
  std::vector<TokenId> banned_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_LOGITS_PROCESSOR_H_
