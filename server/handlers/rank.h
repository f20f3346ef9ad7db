// ScoringService.Rank: the candidates of each item, ordered under every normalisation.
#ifndef LOGITD_SERVER_HANDLERS_RANK_H_
#define LOGITD_SERVER_HANDLERS_RANK_H_

#include "absl/status/status.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/reply_writer.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status Rank(const v1::RankRequest& request, const ServerEnv& env, const RequestContext& context,
                  ReplyWriter<v1::RankResponse>& writer);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_RANK_H_
