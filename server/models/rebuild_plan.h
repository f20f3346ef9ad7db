// Plans how to put sequences on a runner that does not know them, with every common prefix evaluated once.
#ifndef LOGITD_SERVER_MODELS_REBUILD_PLAN_H_
#define LOGITD_SERVER_MODELS_REBUILD_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/types.h"
#include "server/models/work.h"

namespace logitd::server {

// A sequence that the runner should hold, of at least one token.
struct SequenceTokens {
  int64_t sequence_id = 0;
  std::span<const TokenId> tokens;
};

// Returns rounds of work. Each round must be evaluated before the next; no rows are asked for. Without `fork` every
// sequence is evaluated by itself. A round either copies or appends, and never does both: batches are split by tokens,
// and a copy must be taken before its source goes on. Cost: the sum of the lengths.
std::vector<std::vector<SequenceWork>> RebuildPlan(std::span<const SequenceTokens> sequences, bool fork);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_REBUILD_PLAN_H_
