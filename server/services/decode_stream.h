// DecodingService.Decode around its handler: one message in, one message out, in order.
//
// One outstanding read, and the next only after the answer is written: a client that does not read is not read from, so
// memory is bounded by one message each way. A message is parsed here: gRPC would report one that cannot be parsed just
// as it reports a half-close. It is dropped when it is answered: an idle stream keeps
// its sequences only, and they count (Admission::Hold).
#ifndef LOGITD_SERVER_SERVICES_DECODE_STREAM_H_
#define LOGITD_SERVER_SERVICES_DECODE_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <optional>

#include "server/handlers/decode.h"
#include "server/services/call_env.h"
#include "server/services/call_record.h"

namespace logitd::server {

class DecodeStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>, public OpenCall {
 public:
  DecodeStream(CallEnv env, grpc::CallbackServerContext* context);

  void End(const absl::Status& status) override;
  bool EndsByItself() const override { return false; }
  void EndIfOverdue(std::chrono::steady_clock::time_point now) override;
  void Abort(const absl::Status& status) override { record_.Abort(status); }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // REQUIRES: mutex_ is held, and the stream is not finished.
  void ReadNext();
  // Answers the message that was read; runs on a worker thread.
  void Work();
  absl::Status Answer();
  // Finishes the stream, once: now, or when the worker is done with it.
  void FinishOnce(const absl::Status& status);
  // REQUIRES: is_finished_ was set by the caller.
  void FinishWith(const absl::Status& status);

  const CallEnv env_;
  CallRecord record_;
  // Runs while the client's next message is waited for.
  WaitClock from_client_;
  DecodeSession session_;
  // The charge for what the session keeps.
  std::optional<BytesInWork> held_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  bool is_admitted_ = false;
  bool is_open_ = false;
  std::mutex mutex_;
  bool is_finished_ = false;
  // A worker uses this object: gRPC must not be done with it before.
  bool is_working_ = false;
  std::optional<absl::Status> finish_after_work_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_DECODE_STREAM_H_
