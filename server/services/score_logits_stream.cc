#include "server/services/score_logits_stream.h"

#include "logitd/v1/scoring_service.pb.h"

namespace logitd::server {

ScoreLogitsStream::ScoreLogitsStream(CallEnv env, grpc::CallbackServerContext* context)
    : MessageStream(env, "ScoreLogits", context), session_(env.server.heads) {
  Begin();
}

absl::StatusOr<ScoreLogitsStream::Next> ScoreLogitsStream::OnMessage() {
  v1::ScoreLogitsRequest request;
  ASSIGN_OR_RETURN(const BytesInWork bytes, TakeMessage(request));
  ASSIGN_OR_RETURN(const ScoreLogitsSession::Reply reply, session_.Take(request, context(), workspaces()));
  RETURN_IF_ERROR(Hold(session_.held_bytes()));
  if (!reply) return Next::kRead;
  RETURN_IF_ERROR(server::WriteReply(*reply, response_));
  return Next::kWrite;
}

void ScoreLogitsStream::EndNext() {
  RunOnWorker([this]() -> absl::StatusOr<Next> {
    ASSIGN_OR_RETURN(const ScoreLogitsSession::Reply reply, session_.TakeNext());
    if (!reply) return Next::kEnd;
    RETURN_IF_ERROR(server::WriteReply(*reply, response_));
    return Next::kWrite;
  });
}

void ScoreLogitsStream::OnWriteDone(bool ok) {
  if (!ok) return FinishOnce(errors::Cancelled());
  response_.Clear();
  if (!is_half_closed_) return ContinueReading();
  EndNext();
}

}  // namespace logitd::server
