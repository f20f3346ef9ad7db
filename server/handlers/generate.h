// GenerationService.Generate: prompt in, completions out.
#ifndef LOGITD_SERVER_HANDLERS_GENERATE_H_
#define LOGITD_SERVER_HANDLERS_GENERATE_H_

#include "absl/status/status.h"
#include "logitd/v1/generation_service.pb.h"
#include "server/reply_writer.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status Generate(const v1::GenerateRequest& request, const ServerEnv& env, const RequestContext& context,
                      ReplyWriter<v1::GenerateResponse>& writer);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_GENERATE_H_
