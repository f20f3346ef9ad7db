// The outcome of two sequences of log-probs as members of a JSON object.
#ifndef LOGITD_CLIENT_CLI_DUEL_JSON_H_
#define LOGITD_CLIENT_CLI_DUEL_JSON_H_

#include "client/cli/json_object.h"
#include "client/comparison/token_duel.h"

namespace logitd::cli {

// token_winner and total_winner (0 or 1, left out if nobody wins), total_margin, lead_lost_at, deciding_positions.
void AddDuel(const comparison::Duel& duel, JsonObject& json);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_DUEL_JSON_H_
