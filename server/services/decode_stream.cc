#include "server/services/decode_stream.h"

#include "logitd/v1/decoding_service.pb.h"

namespace logitd::server {

DecodeStream::DecodeStream(CallEnv env, grpc::CallbackServerContext* context)
    : MessageStream(env, "Decode", context), session_(env.server.heads) {
  Begin();
}

absl::StatusOr<DecodeStream::Next> DecodeStream::OnMessage() {
  v1::DecodeRequest request;
  ASSIGN_OR_RETURN(const BytesInWork bytes, TakeMessage(request));
  v1::DecodeResponse response;
  RETURN_IF_ERROR(session_.Handle(request, context(), workspaces(), response));
  RETURN_IF_ERROR(Hold(session_.held_bytes()));
  RETURN_IF_ERROR(server::WriteReply(response, response_));
  return Next::kWrite;
}

void DecodeStream::OnWriteDone(bool ok) {
  if (!ok) return FinishOnce(errors::Cancelled());
  response_.Clear();
  ContinueReading();
}

}  // namespace logitd::server
