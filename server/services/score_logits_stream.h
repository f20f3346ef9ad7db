// The gRPC side of ScoringService.ScoreLogits: rows in, one reply for each sequence.
//
// It reads the next message only after it has written the reply to the last one, so a client that does not read is held
// back.
#ifndef LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_
#define LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_

#include "server/handlers/score_logits.h"
#include "server/services/message_stream.h"

namespace logitd::server {

class ScoreLogitsStream final : public MessageStream<grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>> {
 public:
  ScoreLogitsStream(CallEnv env, grpc::CallbackServerContext* context);

 private:
  absl::StatusOr<Next> OnMessage() override;
  // The open sequences end, one after the other.
  void OnHalfClose() override {
    is_half_closed_ = true;
    EndNext();
  }
  void EndNext();
  void WriteReply() override { StartWrite(&response_); }
  void OnWriteDone(bool ok) override;

  ScoreLogitsSession session_;
  grpc::ByteBuffer response_;
  bool is_half_closed_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_
