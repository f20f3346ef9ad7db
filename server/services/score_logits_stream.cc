#include "server/services/score_logits_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>

#include "core/errors.h"
#include "core/status_macros.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/status.h"

namespace logitd::server {

ScoreLogitsStream::ScoreLogitsStream(CallEnv env, grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
    : env_(env),
      record_("ScoreLogits", context),
      response_(*response),
      context_{give_up_.get_token(), context->deadline()} {
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

void ScoreLogitsStream::End(const absl::Status& status) { FinishOnce(status); }

void ScoreLogitsStream::EndIfOverdue(std::chrono::steady_clock::time_point now) {
  const auto& settings = env_.server.settings;
  if (from_client_.HasLasted(settings.max_idle, now)) FinishOnce(errors::Idle(settings.max_idle.count()));
  if (!record_.to_client.HasLasted(settings.max_stall, now)) return;
  const absl::Status status = errors::Stalled(settings.max_stall.count());
  FinishOnce(status);
  record_.Abort(status);
}

void ScoreLogitsStream::ReadNext() {
  from_client_.Start();
  StartRead(&message_);
}

void ScoreLogitsStream::OnReadDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    from_client_.Stop();
    is_working_ = true;
  }
  if (env_.workers.Run([this, ok] { Work(ok); })) return;
  {
    std::lock_guard lock(mutex_);
    is_working_ = false;
  }
  FinishOnce(env_.admission.Refusal());
}

void ScoreLogitsStream::Work(bool has_message) {
  const absl::Status worked = has_message ? TakeMessage() : Reply();
  std::unique_lock lock(mutex_);
  is_working_ = false;
  if (has_message && worked.ok() && !finish_after_work_) {
    // Under the lock, so that nothing is started on a call that is finished meanwhile.
    ReadNext();
    return;
  }
  is_finished_ = true;
  const absl::Status status = finish_after_work_.value_or(worked);
  lock.unlock();
  FinishWith(status);
}

absl::Status ScoreLogitsStream::TakeMessage() {
  ASSIGN_OR_RETURN(const BytesInWork bytes, env_.admission.TakeBytes(static_cast<int64_t>(message_.Length())));
  v1::ScoreLogitsRequest request;
  const bool is_parsed = grpc::SerializationTraits<v1::ScoreLogitsRequest>::Deserialize(&message_, &request).ok();
  message_.Clear();
  if (!is_parsed) return errors::MalformedMessage("", "the message is not a ScoreLogitsRequest");
  RETURN_IF_ERROR(session_.Take(request, context_));
  return env_.admission.Hold(session_.held_bytes(), held_);
}

absl::Status ScoreLogitsStream::Reply() {
  v1::ScoreLogitsResponse response;
  RETURN_IF_ERROR(session_.Finish(response));
  bool owns_buffer = false;
  const grpc::Status serialized =
      grpc::SerializationTraits<v1::ScoreLogitsResponse>::Serialize(response, &response_, &owns_buffer);
  return serialized.ok() ? absl::OkStatus() : errors::Internal("the reply cannot be serialised");
}

void ScoreLogitsStream::OnCancel() { FinishOnce(errors::Cancelled()); }

void ScoreLogitsStream::FinishOnce(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    if (is_working_) {
      if (!finish_after_work_) finish_after_work_ = status;
      // The rows that are left are not wanted any more.
      give_up_.request_stop();
      return;
    }
    is_finished_ = true;
  }
  FinishWith(status);
}

void ScoreLogitsStream::FinishWith(const absl::Status& status) {
  from_client_.Stop();
  record_.Ended(status);
  record_.to_client.Start();
  Finish(ToGrpcStatus(status));
}

void ScoreLogitsStream::OnDone() {
  record_.WriteLine();
  held_.reset();
  if (is_admitted_) env_.admission.Leave();
  if (is_open_) env_.open_calls.Remove(this);
  delete this;
}

}  // namespace logitd::server
