// Scores a text of any length in windows (logitd.v1.RollingText).
//
// Memory: the ids of the text's tokens, 32 bytes for each window, and the records of a few windows.
#ifndef LOGITD_SERVER_HANDLERS_ROLLING_SCORE_H_
#define LOGITD_SERVER_HANDLERS_ROLLING_SCORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/continuation_scores.h"
#include "server/models/served_model.h"
#include "server/models/tokenization.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

// Scores `text`, which errors call `field`. Fills in the item and the usage of `response`; an error of the text is the
// item's error. Errors are those of the whole call (CANCELLED, RUNNER_LOST, ...).
absl::Status ScoreRolling(const v1::RollingText& text, const std::string& field, const ScoreOptions& options,
                          const TokenizationOptions& tokenization, ServedModel& model, const ServerEnv& env,
                          const RequestContext& context, v1::ScoreResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_ROLLING_SCORE_H_
