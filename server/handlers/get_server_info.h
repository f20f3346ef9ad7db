// ServerService.GetServerInfo: version, capabilities and limits of this server.
#ifndef LOGITD_SERVER_HANDLERS_GET_SERVER_INFO_H_
#define LOGITD_SERVER_HANDLERS_GET_SERVER_INFO_H_

#include "absl/status/status.h"
#include "logitd/v1/server_service.pb.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status GetServerInfo(const v1::GetServerInfoRequest& request, const ServerEnv& env, const RequestContext& context,
                           v1::GetServerInfoResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_GET_SERVER_INFO_H_
