// ScoringService.ScoreLogits around its handler: many messages in, one reply.
#ifndef LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_
#define LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_

#include "server/handlers/score_logits.h"
#include "server/services/message_stream.h"

namespace logitd::server {

class ScoreLogitsStream final : public MessageStream<grpc::ServerReadReactor<grpc::ByteBuffer>> {
 public:
  ScoreLogitsStream(CallEnv env, grpc::CallbackServerContext* context, grpc::ByteBuffer* response);

 private:
  absl::StatusOr<Next> OnMessage() override;
  void OnHalfClose() override {
    RunOnWorker([this] { return Reply(); });
  }
  absl::StatusOr<Next> Reply();

  // Sent if the call ends with OK.
  grpc::ByteBuffer& response_;
  ScoreLogitsSession session_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_
