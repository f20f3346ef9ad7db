#include "server/services/decode_stream.h"

#include "core/errors.h"
#include "server/status.h"

namespace logitd::server {

DecodeStream::DecodeStream(CallEnv env) : env_(env) {
  const absl::Status admitted = env_.admission.Enter();
  is_admitted_ = admitted.ok();
  is_open_ = is_admitted_ && env_.open_calls.Add(this);
  if (!is_open_) {
    FinishOnce(is_admitted_ ? errors::Draining() : admitted);
  } else {
    StartRead(&request_);
  }
}

void DecodeStream::End(const absl::Status& status) { FinishOnce(status); }

void DecodeStream::OnReadDone(bool ok) {
  // The client has half-closed: every batch is answered, its sequences end with the stream.
  if (!ok) return FinishOnce(absl::OkStatus());
  {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    is_working_ = true;
  }
  if (env_.workers.Run([this] { Answer(); })) return;
  {
    std::lock_guard lock(mutex_);
    is_working_ = false;
  }
  FinishOnce(env_.admission.Refusal());
}

void DecodeStream::Answer() {
  response_.Clear();
  const absl::Status answered = session_.Handle(request_, response_);
  std::unique_lock lock(mutex_);
  is_working_ = false;
  if (answered.ok() && !finish_after_work_) {
    // Under the lock, so that nothing is started on a stream that is finished meanwhile.
    StartWrite(&response_);
    return;
  }
  is_finished_ = true;
  const absl::Status status = finish_after_work_.value_or(answered);
  lock.unlock();
  Finish(ToGrpcStatus(status));
}

void DecodeStream::OnWriteDone(bool ok) {
  if (!ok) return FinishOnce(errors::Cancelled());
  std::lock_guard lock(mutex_);
  if (!is_finished_) StartRead(&request_);
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
  Finish(ToGrpcStatus(status));
}

void DecodeStream::OnDone() {
  if (is_admitted_) env_.admission.Leave();
  if (is_open_) env_.open_calls.Remove(this);
  delete this;
}

}  // namespace logitd::server
