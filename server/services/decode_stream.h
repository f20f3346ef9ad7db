// DecodingService.Decode around its handler: one message in, one message out, in order.
//
// One outstanding read, and the next only after the answer is written: a client that does not read is not read from, so
// memory is bounded by one message each way.
#ifndef LOGITD_SERVER_SERVICES_DECODE_STREAM_H_
#define LOGITD_SERVER_SERVICES_DECODE_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <optional>

#include "logitd/v1/decoding_service.pb.h"
#include "server/handlers/decode.h"
#include "server/services/call_env.h"

namespace logitd::server {

class DecodeStream final : public grpc::ServerBidiReactor<v1::DecodeRequest, v1::DecodeResponse>, public OpenCall {
 public:
  explicit DecodeStream(CallEnv env);

  void End(const absl::Status& status) override;
  bool EndsByItself() const override { return false; }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Answers the message that was read; runs on a worker thread.
  void Answer();
  // Finishes the stream, once: now, or when the worker is done with it.
  void FinishOnce(const absl::Status& status);

  const CallEnv env_;
  DecodeSession session_;
  v1::DecodeRequest request_;
  v1::DecodeResponse response_;
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
