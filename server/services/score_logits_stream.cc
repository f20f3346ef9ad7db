#include "server/services/score_logits_stream.h"

#include "logitd/v1/scoring_service.pb.h"

namespace logitd::server {

ScoreLogitsStream::ScoreLogitsStream(CallEnv env, grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
    : MessageStream(env, "ScoreLogits", context), response_(*response) {
  Begin();
}

absl::StatusOr<ScoreLogitsStream::Next> ScoreLogitsStream::OnMessage() {
  v1::ScoreLogitsRequest request;
  ASSIGN_OR_RETURN(const BytesInWork bytes, TakeMessage(request));
  RETURN_IF_ERROR(session_.Take(request, context(), workspaces()));
  RETURN_IF_ERROR(Hold(session_.held_bytes()));
  return Next::kRead;
}

absl::StatusOr<ScoreLogitsStream::Next> ScoreLogitsStream::Reply() {
  v1::ScoreLogitsResponse response;
  RETURN_IF_ERROR(session_.Finish(response));
  RETURN_IF_ERROR(server::WriteReply(response, response_));
  return Next::kEnd;
}

}  // namespace logitd::server
