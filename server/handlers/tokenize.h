// ModelService.Tokenize and Detokenize: text <-> token ids, with a model's tokenizer.
#ifndef LOGITD_SERVER_HANDLERS_TOKENIZE_H_
#define LOGITD_SERVER_HANDLERS_TOKENIZE_H_

#include "absl/status/status.h"
#include "logitd/v1/model_service.pb.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status Tokenize(const v1::TokenizeRequest& request, const ServerEnv& env, const RequestContext& context,
                      v1::TokenizeResponse& response);
absl::Status Detokenize(const v1::DetokenizeRequest& request, const ServerEnv& env, const RequestContext& context,
                        v1::DetokenizeResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_TOKENIZE_H_
