// The log-probs of continuations after their contexts, with an attached model: what Score and Rank have in common.
#ifndef LOGITD_SERVER_HANDLERS_CONTINUATION_SCORES_H_
#define LOGITD_SERVER_HANDLERS_CONTINUATION_SCORES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "core/sampling_params.h"
#include "core/sequence.h"
#include "core/token_record.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/item_tokens.h"
#include "server/models/served_model.h"
#include "server/request_context.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// The score of one continuation.
struct ContinuationScore {
  // Why it could not be scored; then the rest is empty.
  absl::Status status;
  // One per token; empty if options.records is false.
  std::vector<TokenRecord> tokens;
  int32_t token_count = 0;
  SequenceSums sums;
  bool is_greedy = true;
};

// The scores of one item.
struct ItemScores {
  // In the item's order.
  std::vector<ContinuationScore> continuations;
  // Tokens that the model was asked to evaluate for them, what they share once. Not counted again: what a lost runner
  // had evaluated.
  int64_t evaluated_count = 0;
};

// What records are to hold, and the conditional to score under besides the model's.
struct ScoreOptions {
  RecordOptions record;
  std::optional<SamplingParams> sampling;
};

// Scores `items`, several at once, and calls `done(item_index, scores)` for each, in order; false from it stops.
// A context is evaluated once for all of its continuations, as far as it has the same tokens for them. A workspace is
// lent for each row. Errors: those of the call as a whole (CANCELLED, RUNNER_LOST, ...); what concerns one continuation
// is in its status.
absl::Status ScoreContinuations(const std::vector<ItemInput>& items, const ScoreOptions& options, ServedModel& model,
                                const RequestContext& context, StepWorkspaces& workspaces,
                                const std::function<bool(size_t, ItemScores)>& done);

// A score as a reply holds it.
void ToProto(const ContinuationInput& input, const ContinuationScore& score, const RecordOptions& options,
             const Vocabulary& vocabulary, v1::ScoredContinuation& message);

// What the scores of an item cost.
v1::Usage UsageOf(const ItemInput& input, const ItemScores& scores);

// Alternatives of one reply, tokens * (top_n + named). Errors: LIMIT_EXCEEDED.
absl::Status CheckAlternatives(const std::vector<ItemInput>& items, const RecordOptions& options);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_CONTINUATION_SCORES_H_
