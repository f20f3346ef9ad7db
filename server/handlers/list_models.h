// ModelService.ListModels.
#ifndef LOGITD_SERVER_HANDLERS_LIST_MODELS_H_
#define LOGITD_SERVER_HANDLERS_LIST_MODELS_H_

#include "absl/status/status.h"
#include "logitd/v1/model_service.pb.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status ListModels(const v1::ListModelsRequest& request, const ServerEnv& env, const RequestContext& context,
                        v1::ListModelsResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_LIST_MODELS_H_
