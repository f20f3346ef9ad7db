// The log-probs of continuations after their contexts, with an attached model: the common part of Score and Rank.
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
#include "server/models/runner_session.h"
#include "server/models/served_model.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

// The score of one continuation.
struct ContinuationScore {
  // Not OK: why it could not be scored. The rest is empty then.
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
  // Tokens that the model evaluated for the item. Shared tokens count once; a lost runner's work is not counted again.
  int64_t evaluated_count = 0;
  // Tokens that it did not have to evaluate, because earlier requests or other items had them.
  int64_t cached_count = 0;
};

// The content of records, and the conditional to score under besides the model's.
struct ScoreOptions {
  RecordOptions record;
  std::optional<SamplingParams> sampling;
  // The requests with which this one shares what was evaluated.
  CacheScope scope;
};

// Scores `items`, several at once, and calls done(item_index, scores) for each, in order. Stops if done returns false.
// Tokens that contexts and continuations share are evaluated once. Each row borrows a workspace. Errors are those of
// the whole call (CANCELLED, RUNNER_LOST, ...); an error of one continuation is in its status.
absl::Status ScoreContinuations(const std::vector<ItemInput>& items, const ScoreOptions& options, ServedModel& model,
                                const ServerEnv& env, const RequestContext& context,
                                const std::function<bool(size_t, ItemScores)>& done);

// A score as a reply holds it.
void ToProto(const ContinuationInput& input, const ContinuationScore& score, const RecordOptions& options,
             const Vocabulary& vocabulary, v1::ScoredContinuation& message);

// The tokens that the scores of an item cost.
v1::Usage UsageOf(const ItemInput& input, const ItemScores& scores);

// Checks the number of alternatives of one reply, tokens * (top_n + named). Errors: LIMIT_EXCEEDED.
absl::Status CheckAlternatives(const std::vector<ItemInput>& items, const RecordOptions& options);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_CONTINUATION_SCORES_H_
