// The gRPC side of DecodingService.Decode: one message in, one message out, in order.
//
// It reads the next message only after it has written the answer, so a client that does not read is held back.
#ifndef LOGITD_SERVER_SERVICES_DECODE_STREAM_H_
#define LOGITD_SERVER_SERVICES_DECODE_STREAM_H_

#include "server/handlers/decode.h"
#include "server/services/message_stream.h"

namespace logitd::server {

class DecodeStream final : public MessageStream<grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>> {
 public:
  DecodeStream(CallEnv env, grpc::CallbackServerContext* context);

 private:
  absl::StatusOr<Next> OnMessage() override;
  // Every batch has its answer; the sequences end with the stream.
  void OnHalfClose() override { FinishOnce(absl::OkStatus()); }
  void WriteReply() override { StartWrite(&response_); }
  void OnWriteDone(bool ok) override;

  DecodeSession session_;
  grpc::ByteBuffer response_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_DECODE_STREAM_H_
