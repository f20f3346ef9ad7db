// The total probability of an item's candidates or options, as replies hold it: logitd.v1.ClosedSet.
#ifndef LOGITD_SERVER_HANDLERS_CLOSED_SETS_H_
#define LOGITD_SERVER_HANDLERS_CLOSED_SETS_H_

#include <optional>
#include <vector>

#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_tokens.h"

namespace logitd::server {

// The set of all continuations of `input` that were scored; those with an error are not in it. Shapes: the
// continuations of `input`, and `scores`, in the same order. Unset: none was scored.
std::optional<v1::ClosedSet> ClosedSetOf(const ItemInput& input, const std::vector<ContinuationScore>& scores);

// The sum over a continuation's tokens, nats; -inf: one of them is not possible. REQUIRES: it has been scored.
double LogProbOf(const ContinuationScore& score);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_CLOSED_SETS_H_
