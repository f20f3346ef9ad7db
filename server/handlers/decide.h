// ScoringService.Decide.
#ifndef LOGITD_SERVER_HANDLERS_DECIDE_H_
#define LOGITD_SERVER_HANDLERS_DECIDE_H_

#include "absl/status/status.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/reply_writer.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

// Answers the question of each item. See logitd.v1.ScoringService.Decide.
absl::Status Decide(const v1::DecideRequest& request, const ServerEnv& env, const RequestContext& context,
                    ReplyWriter<v1::DecideResponse>& writer);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_DECIDE_H_
