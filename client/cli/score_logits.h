// `logit score --logits ROWS --targets 5,7`: log-probs of given tokens under rows that the caller brings.
#ifndef LOGITD_CLIENT_CLI_SCORE_LOGITS_H_
#define LOGITD_CLIENT_CLI_SCORE_LOGITS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/session.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// --logits, --prompt-tokens, --targets, --targets-file, --sums-only.
std::vector<Flag> ScoreLogitsFlags();

// Whether the command line is about logits of the caller's own: one of these flags is given.
bool HasScoreLogitsFlags(const Arguments& arguments);

// Scores the file of --logits and prints its sequences. Returns the exit code.
// REQUIRES: `arguments` has score's flags; HasScoreLogitsFlags(arguments).
int ScoreLogits(const Arguments& arguments, Session& session);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_SCORE_LOGITS_H_
