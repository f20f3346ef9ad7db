// ScoringService.ScoreLogits around its handler: rows in, one reply for each sequence.
//
// The next message is read only after the reply to the one before is written: a client that does not read is not read
// from.
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
  // The sequences that are open end, one after the other.
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
