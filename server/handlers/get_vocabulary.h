// ModelService.GetVocabulary: all tokens of a model, in messages of bounded size.
#ifndef LOGITD_SERVER_HANDLERS_GET_VOCABULARY_H_
#define LOGITD_SERVER_HANDLERS_GET_VOCABULARY_H_

#include "absl/status/status.h"
#include "logitd/v1/model_service.pb.h"
#include "server/reply_writer.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status GetVocabulary(const v1::GetVocabularyRequest& request, const ServerEnv& env, const RequestContext& context,
                           ReplyWriter<v1::GetVocabularyResponse>& writer);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_GET_VOCABULARY_H_
