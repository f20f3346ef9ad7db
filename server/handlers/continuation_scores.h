// The log-probs of continuations after their contexts, with an attached model: the common part of Score, Rank and
// Decide.
#ifndef LOGITD_SERVER_HANDLERS_CONTINUATION_SCORES_H_
#define LOGITD_SERVER_HANDLERS_CONTINUATION_SCORES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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
  // The watch lost interest before the last token. Totals and records are those of the first tokens then.
  bool is_cut = false;
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

// Follows the log-probs of continuations while they come, and says which continuations still matter.
class ScoreWatch {
 public:
  virtual ~ScoreWatch() = default;
  // The continuation's next token, of this model log-prob; -inf: it is not possible.
  virtual void OnToken(size_t item, size_t continuation, double log_prob) = 0;
  // False: its further tokens need not be evaluated.
  virtual bool IsWanted(size_t item, size_t continuation) = 0;
};

// The content of records, and the conditional to score under besides the model's.
struct ScoreOptions {
  RecordOptions record;
  std::optional<SamplingParams> sampling;
  // The requests with which this one shares what was evaluated.
  CacheScope scope;
  // Null: every continuation is evaluated to its end. Set: record.model_log_prob is set too.
  ScoreWatch* watch = nullptr;
};

// The options of Rank and Decide, which compare sums of the model's log-probs. Records come only if `record` asks for
// them. Errors: those of ScopeOf (cache_scope.h), and of the fields of "record".
absl::StatusOr<ScoreOptions> OptionsForSums(const v1::EvaluationOptions& evaluation, const v1::RecordOptions& record,
                                            const ServedModel& model, const ServerEnv& env);

// Scores `items`, several at once, and calls done(item_index, scores) for each, in order. Stops if done returns false.
// Tokens that contexts and continuations share are evaluated once. Each row borrows a workspace. Errors are those of
// the whole call (CANCELLED, RUNNER_LOST, ...); an error of one continuation is in its status.
absl::Status ScoreContinuations(const std::vector<ItemInput>& items, const ScoreOptions& options, ServedModel& model,
                                const ServerEnv& env, const RequestContext& context,
                                const std::function<bool(size_t, ItemScores)>& done);

// A score as a reply holds it.
void ToProto(const ContinuationInput& input, const ContinuationScore& score, const RecordOptions& options,
             const Vocabulary& vocabulary, v1::ScoredContinuation& message);

// Moves a score to where a ranking or a decision holds it: to a v1::RankedCandidate or v1::DecidedOption. Returns
// whether there is one; else `message` has its error.
template <typename Message>
bool MoveTo(v1::ScoredContinuation scored, Message& message) {
  if (scored.has_error()) {
    message.mutable_error()->Swap(scored.mutable_error());
    return false;
  }
  message.mutable_score()->Swap(scored.mutable_score());
  if (scored.has_boundary()) message.mutable_boundary()->Swap(scored.mutable_boundary());
  message.set_truncated_token_count(scored.truncated_token_count());
  return true;
}

// The tokens that the scores of an item cost.
v1::Usage UsageOf(const ItemInput& input, const ItemScores& scores);

// Checks the number of alternatives of one reply, tokens * (top_n + named). Errors: LIMIT_EXCEEDED.
absl::Status CheckAlternatives(const std::vector<ItemInput>& items, const RecordOptions& options);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_CONTINUATION_SCORES_H_
