// How sequences are put on a runner that does not know them: with every common prefix evaluated once.
#ifndef LOGITD_SERVER_MODELS_REBUILD_PLAN_H_
#define LOGITD_SERVER_MODELS_REBUILD_PLAN_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/types.h"
#include "server/models/work.h"

namespace logitd::server {

// A sequence as it has to be, >= 1 token.
struct SequenceTokens {
  int64_t sequence_id = 0;
  std::span<const TokenId> tokens;
};

// Rounds of work, each to be evaluated after the one before; no rows are asked for. Without `fork` each sequence is
// evaluated by itself. A round either copies or appends, never both: batches are split by tokens, and a copy must be
// taken before its source goes on. Cost: the sum of the lengths.
std::vector<std::vector<SequenceWork>> RebuildPlan(std::span<const SequenceTokens> sequences, bool fork);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_REBUILD_PLAN_H_
