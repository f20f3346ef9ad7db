// ScoringService.Score: log-probs of given continuations.
#ifndef LOGITD_SERVER_HANDLERS_SCORE_H_
#define LOGITD_SERVER_HANDLERS_SCORE_H_

#include "absl/status/status.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/reply_writer.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status Score(const v1::ScoreRequest& request, const ServerEnv& env, const RequestContext& context,
                   ReplyWriter<v1::ScoreResponse>& writer);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SCORE_H_
