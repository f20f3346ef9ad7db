// ModelService.RenderChat: a conversation to the token ids of a prompt, with a model's chat template.
#ifndef LOGITD_SERVER_HANDLERS_RENDER_CHAT_H_
#define LOGITD_SERVER_HANDLERS_RENDER_CHAT_H_

#include "absl/status/status.h"
#include "logitd/v1/model_service.pb.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status RenderChat(const v1::RenderChatRequest& request, const ServerEnv& env, const RequestContext& context,
                        v1::RenderChatResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_RENDER_CHAT_H_
