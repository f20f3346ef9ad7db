// Calls in which the client sends message after message: the common part of Decode and ScoreLogits.
//
// - There is one outstanding read. The next read starts when the message has been worked on and answered, if it has an
//   answer. So gRPC's flow control holds back a fast client, and one message bounds the memory.
// - A message is dropped after the work on it. An idle stream keeps only the state of its session, which is charged
//   (Admission::Hold).
// - An idle stream holds no thread; a stream holds one while it works on a message. Streams are admitted apart from
//   calls (Admission::streams).
// - A call ends once: with the status of its work, or from outside (a drain, a cancellation, a client that keeps it
//   waiting).
#ifndef LOGITD_SERVER_SERVICES_MESSAGE_STREAM_H_
#define LOGITD_SERVER_SERVICES_MESSAGE_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "core/errors.h"
#include "server/request_context.h"
#include "server/services/call_env.h"
#include "server/services/call_record.h"
#include "server/services/request_reader.h"
#include "server/status.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// `Reactor` is grpc::ServerBidiReactor of byte buffers.
template <typename Reactor>
class MessageStream : public Reactor, public OpenCall {
 public:
  void End(const absl::Status& status) override { FinishOnce(status); }
  // An idle stream waits for its client.
  bool EndsByItself() const override { return false; }
  void EndIfOverdue(std::chrono::steady_clock::time_point now) override {
    const auto& options = env_.server.options;
    if (from_client_.HasLasted(options.max_idle, now))
      FinishOnce(errors::Idle({kMaxIdleMs.name, options.max_idle.count()}));
    if (!record_.to_client.HasLasted(options.max_stall, now)) return;
    const absl::Status status = errors::Stalled({kMaxStallMs.name, options.max_stall.count()});
    FinishOnce(status);
    record_.Abort(status);
  }
  void Abort(const absl::Status& status) override { record_.Abort(status); }

 protected:
  // The step after a piece of work: read the next message, write a reply, or end the call.
  enum class Next { kRead, kWrite, kEnd };

  MessageStream(CallEnv env, std::string method, grpc::CallbackServerContext* context)
      : env_(env),
        context_of_call_(context),
        record_(std::move(method), context),
        context_{give_up_.get_token(), context->deadline()} {}

  // Admits the call and reads its first message, or refuses it. Call it once, last in the constructor.
  void Begin() {
    absl::Status admitted = env_.connections.Enter(*context_of_call_, record_.place);
    if (admitted.ok()) admitted = env_.admission.streams().Take();
    is_admitted_ = admitted.ok();
    is_open_ = is_admitted_ && env_.open_calls.Add(this);
    if (!is_open_) return FinishOnce(is_admitted_ ? errors::Draining() : admitted);
    std::lock_guard lock(mutex_);
    // A drain may have ended it meanwhile.
    if (!is_finished_) ReadNext();
  }

  // Works on the message that was read. Runs on a worker thread.
  virtual absl::StatusOr<Next> OnMessage() = 0;
  // The client has half-closed, and the work on every message is done. Writes the remaining replies, or ends the call.
  virtual void OnHalfClose() = 0;
  // Starts the write that Next::kWrite asked for; its completion calls ContinueReading.
  virtual void WriteReply() {}

  // Runs `work` on a worker thread, then takes the step that it returns. An error ends the call.
  void RunOnWorker(std::function<absl::StatusOr<Next>()> work) {
    {
      std::lock_guard lock(mutex_);
      if (is_finished_) return;
      from_client_.Stop();
      record_.to_client.Stop();
      is_working_ = true;
    }
    if (env_.workers.Run([this, work = std::move(work)] { Work(work); })) return;
    {
      std::lock_guard lock(mutex_);
      is_working_ = false;
    }
    FinishOnce(env_.admission.streams().Refusal());
  }

  void ContinueReading() {
    std::lock_guard lock(mutex_);
    if (is_finished_) return;
    record_.to_client.Stop();
    ReadNext();
  }

  // Finishes the call, once: now, or when its worker is done.
  void FinishOnce(const absl::Status& status) {
    {
      std::lock_guard lock(mutex_);
      if (is_finished_) return;
      if (is_working_) {
        if (!finish_after_work_) finish_after_work_ = status;
        give_up_.request_stop();
        return;
      }
      is_finished_ = true;
    }
    FinishWith(status);
  }

  // Parses the message that was read. Its charge lasts as long as the returned value.
  template <typename Message>
  absl::StatusOr<BytesInWork> TakeMessage(Message& message) {
    return ReadRequest(message_, env_.admission, message);
  }

  // Working space for the rows of a message, one by one.
  StepWorkspaces& workspaces() { return env_.server.workspaces; }

  // Charges the bytes that the session keeps, until the call is over.
  absl::Status Hold(int64_t bytes) { return env_.admission.Hold(bytes, held_); }

  // Given up when the call ends while a worker is busy with it.
  const RequestContext& context() const { return context_; }

 private:
  // REQUIRES: mutex_ is held, and the call is not finished.
  void ReadNext() {
    from_client_.Start();
    this->StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    ok ? RunOnWorker([this] { return OnMessage(); }) : OnHalfClose();
  }
  void OnCancel() override { FinishOnce(errors::Cancelled()); }

  void Work(const std::function<absl::StatusOr<Next>()>& work) {
    const absl::StatusOr<Next> next = work();
    std::unique_lock lock(mutex_);
    is_working_ = false;
    if (next.ok() && *next != Next::kEnd && !finish_after_work_) {
      // Under the lock, so that nothing is started on a call that is finished meanwhile.
      if (*next == Next::kRead) return ReadNext();
      record_.to_client.Start();
      return WriteReply();
    }
    is_finished_ = true;
    const absl::Status status = finish_after_work_.value_or(next.status());
    lock.unlock();
    FinishWith(status);
  }

  // REQUIRES: is_finished_ was set by the caller.
  void FinishWith(const absl::Status& status) {
    from_client_.Stop();
    record_.Finish(*this, status);
  }

  void OnDone() override {
    record_.WriteLine();
    held_.reset();
    if (is_admitted_) env_.admission.streams().GiveBack();
    if (is_open_) env_.open_calls.Remove(this);
    delete this;
  }

  const CallEnv env_;
  grpc::CallbackServerContext* const context_of_call_;
  CallRecord record_;
  // Runs while the stream waits for the client's next message.
  WaitClock from_client_;
  std::optional<BytesInWork> held_;
  grpc::ByteBuffer message_;
  std::stop_source give_up_;
  const RequestContext context_;
  bool is_admitted_ = false;
  bool is_open_ = false;
  std::mutex mutex_;
  bool is_finished_ = false;
  // A worker uses this object, so the call must not finish yet.
  bool is_working_ = false;
  std::optional<absl::Status> finish_after_work_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_MESSAGE_STREAM_H_
