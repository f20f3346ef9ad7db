// FittingService.FitStrengths: the strengths of the Plackett-Luce model under which given rankings are most probable.
#ifndef LOGITD_SERVER_HANDLERS_FIT_STRENGTHS_H_
#define LOGITD_SERVER_HANDLERS_FIT_STRENGTHS_H_

#include "absl/status/status.h"
#include "logitd/v1/plackett_luce.pb.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status FitStrengths(const v1::FitStrengthsRequest& request, const ServerEnv& env, const RequestContext& context,
                          v1::FitStrengthsResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_FIT_STRENGTHS_H_
