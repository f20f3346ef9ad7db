// One scored continuation as a reply holds it: what Score and Rank have in common.
#ifndef LOGITD_SERVER_HANDLERS_SCORED_CONTINUATION_H_
#define LOGITD_SERVER_HANDLERS_SCORED_CONTINUATION_H_

#include <vector>

#include "absl/status/status.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/continuation_scores.h"

namespace logitd::server {

void ToProto(const ContinuationInput& input, const ContinuationScore& score, const RecordOptions& options,
             const Vocabulary& vocabulary, v1::ScoredContinuation& message);

// What the scores of an item cost.
v1::Usage UsageOf(const ItemInput& input, const ItemScores& scores);

// Alternatives of one reply, tokens * (top_n + named). Errors: LIMIT_EXCEEDED.
absl::Status CheckAlternatives(const std::vector<ItemInput>& items, const RecordOptions& options);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SCORED_CONTINUATION_H_
