#include "server/services/decode_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include "core/errors.h"
#include "core/status_macros.h"
#include "logitd/v1/decoding_service.pb.h"
#include "server/status.h"

namespace logitd::server {

DecodeStream::DecodeStream(CallEnv env, grpc::CallbackServerContext* context) : env_(env), record_("Decode", context) {
  const absl::Status admitted = env_.admission.Enter();
  is_admitted_ = admitted.ok();
  is_open_ = is_admitted_ && env_.open_calls.Add(this);
  if (!is_open_) {
    FinishOnce(is_admitted_ ? errors::Draining() : admitted);
    return;
  }
  std::lock_guard lock(mutex_);
  // A drain may have ended it meanwhile.
  if (!is_finished_) ReadNext();
}

void DecodeStream::End(const absl::Status& status) { FinishOnce(status); }

void DecodeStream::EndIfOverdue(std::chrono::steady_clock::time_point now) {
  const auto& settings = env_.server.settings;
  if (from_client_.HasLasted(settings.max_idle, now)) FinishOnce(errors::Idle(settings.max_idle.count()));
  if (!record_.to_client.HasLasted(settings.max_stall, now)) return;
  const absl::Status status = errors::Stalled(settings.max_stall.count());
  FinishOnce(status);
  record_.Abort(status);
}

void DecodeStream::ReadNext() {
  from_client_.Start();
  StartRead(&request_);
}

void DecodeStream::OnReadDone(bool ok) {
  // The client has half-closed: every batch is answered, its sequences end with the stream.
  if (!ok) return FinishOnce(absl::OkStatus());
  {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    from_client_.Stop();
    is_working_ = true;
  }
  if (env_.workers.Run([this] { Work(); })) return;
  {
    std::lock_guard lock(mutex_);
    is_working_ = false;
  }
  FinishOnce(env_.admission.Refusal());
}

void DecodeStream::Work() {
  const absl::Status answered = Answer();
  std::unique_lock lock(mutex_);
  is_working_ = false;
  if (answered.ok() && !finish_after_work_) {
    // Under the lock, so that nothing is started on a stream that is finished meanwhile.
    record_.to_client.Start();
    StartWrite(&response_);
    return;
  }
  is_finished_ = true;
  const absl::Status status = finish_after_work_.value_or(answered);
  lock.unlock();
  FinishWith(status);
}

absl::Status DecodeStream::Answer() {
  ASSIGN_OR_RETURN(const BytesInWork bytes, env_.admission.TakeBytes(static_cast<int64_t>(request_.Length())));
  v1::DecodeRequest request;
  const bool is_parsed = grpc::SerializationTraits<v1::DecodeRequest>::Deserialize(&request_, &request).ok();
  request_.Clear();
  if (!is_parsed) return errors::MalformedMessage("", "the message is not a DecodeRequest");
  v1::DecodeResponse response;
  RETURN_IF_ERROR(session_.Handle(request, response));
  RETURN_IF_ERROR(env_.admission.Hold(session_.held_bytes(), held_));
  bool owns_buffer = false;
  const grpc::Status serialized =
      grpc::SerializationTraits<v1::DecodeResponse>::Serialize(response, &response_, &owns_buffer);
  return serialized.ok() ? absl::OkStatus() : errors::Internal("the reply cannot be serialised");
}

void DecodeStream::OnWriteDone(bool ok) {
  if (!ok) return FinishOnce(errors::Cancelled());
  std::lock_guard lock(mutex_);
  if (is_finished_) return;
  record_.to_client.Stop();
  response_.Clear();
  ReadNext();
}

void DecodeStream::OnCancel() { FinishOnce(errors::Cancelled()); }

void DecodeStream::FinishOnce(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    if (is_working_) {
      if (!finish_after_work_) finish_after_work_ = status;
      return;
    }
    is_finished_ = true;
  }
  FinishWith(status);
}

void DecodeStream::FinishWith(const absl::Status& status) {
  from_client_.Stop();
  record_.Ended(status);
  record_.to_client.Start();
  Finish(ToGrpcStatus(status));
}

void DecodeStream::OnDone() {
  record_.WriteLine();
  held_.reset();
  if (is_admitted_) env_.admission.Leave();
  if (is_open_) env_.open_calls.Remove(this);
  delete this;
}

}  // namespace logitd::server
