// ScoringService.ScoreLogits around its handler: many messages in, one reply.
//
// One outstanding read, and the next only after the message before has been reduced: a client that is faster than the
// server is held back by gRPC's flow control, and memory is bounded by one message and the records asked for.
//
// Messages are parsed here: gRPC would report one that cannot be parsed just as it reports a half-close, and the rows
// before it would be answered as if they were all. A message is dropped when its rows are reduced: an idle call keeps
// its records only, and they count (Admission::Hold).
#ifndef LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_
#define LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <stop_token>

#include "server/handlers/score_logits.h"
#include "server/services/call_env.h"
#include "server/services/call_record.h"

namespace logitd::server {

class ScoreLogitsStream final : public grpc::ServerReadReactor<grpc::ByteBuffer>, public OpenCall {
 public:
  ScoreLogitsStream(CallEnv env, grpc::CallbackServerContext* context, grpc::ByteBuffer* response);

  void End(const absl::Status& status) override;
  // It waits for the client's rows.
  bool EndsByItself() const override { return false; }
  void EndIfOverdue(std::chrono::steady_clock::time_point now) override;
  void Abort(const absl::Status& status) override { record_.Abort(status); }

 private:
  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // REQUIRES: mutex_ is held, and the call is not finished.
  void ReadNext();
  // Takes the message that was read, or replies if the client has half-closed; runs on a worker thread.
  void Work(bool has_message);
  absl::Status TakeMessage();
  absl::Status Reply();
  // Finishes the call, once: now, or when the worker is done with it.
  void FinishOnce(const absl::Status& status);
  // REQUIRES: is_finished_ was set by the caller.
  void FinishWith(const absl::Status& status);

  const CallEnv env_;
  CallRecord record_;
  // Runs while the client's next message is waited for.
  WaitClock from_client_;
  // Sent if the call ends with OK.
  grpc::ByteBuffer& response_;
  ScoreLogitsSession session_;
  // The charge for what the session keeps, and then for the reply until it is sent.
  std::optional<BytesInWork> held_;
  grpc::ByteBuffer message_;
  std::stop_source give_up_;
  RequestContext context_;
  bool is_admitted_ = false;
  bool is_open_ = false;
  std::mutex mutex_;
  bool is_finished_ = false;
  // A worker uses this object: gRPC must not be done with it before.
  bool is_working_ = false;
  std::optional<absl::Status> finish_after_work_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_SCORE_LOGITS_STREAM_H_
