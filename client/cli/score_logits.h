// `logit score --logits ROWS --targets 5,7`: log-probs of given tokens under rows that the caller brings.
#ifndef LOGITD_CLIENT_CLI_SCORE_LOGITS_H_
#define LOGITD_CLIENT_CLI_SCORE_LOGITS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/session.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// --logits, --dtype, --prompt-tokens, --targets, --targets-file, --sums-only.
std::vector<Flag> ScoreLogitsFlags();

// Scores the rows of --logits, prints the sequences and returns the exit code. `request_flags`: the flags that do not
// go with rows. REQUIRES: `arguments` has score's flags; one of ScoreLogitsFlags() is given.
absl::StatusOr<int> ScoreLogits(const Arguments& arguments, const std::vector<Flag>& request_flags, Session& session);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_SCORE_LOGITS_H_
