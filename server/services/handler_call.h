// Calls whose handler is one function that runs to its end on a worker thread: unary calls and server streams.
//
// The handler is plain, blocking code; this file holds all of gRPC around it. A call ends once: with the status of its
// handler, or with the status that End was given (a drain, or a client that leaves its reply unread). It deletes itself
// when gRPC is done with it.
#ifndef LOGITD_SERVER_SERVICES_HANDLER_CALL_H_
#define LOGITD_SERVER_SERVICES_HANDLER_CALL_H_

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/handlers/numerics_version.h"
#include "server/reply_writer.h"
#include "server/request_context.h"
#include "server/services/call_env.h"
#include "server/services/call_record.h"
#include "server/services/request_reader.h"
#include "server/status.h"

namespace logitd::server {

// The common part of both kinds: it admits the call, reads the request, runs the handler on a worker thread, gives up
// and ends once. `Reactor` is grpc::ServerUnaryReactor or grpc::ServerWriteReactor of byte buffers.
template <typename Reactor, typename Request>
class HandlerCall : public Reactor, public OpenCall {
 public:
  void End(const absl::Status& status) override {
    {
      std::lock_guard lock(mutex_);
      ended_with_ = status;
    }
    give_up_.request_stop();
  }
  bool EndsByItself() const override { return true; }
  void EndIfOverdue(std::chrono::steady_clock::time_point now) override {
    const auto limit = env_.server.options.max_stall;
    if (!record_.to_client.HasLasted(limit, now)) return;
    const absl::Status status = errors::Stalled({kMaxStallMs.name, limit.count()});
    End(status);
    record_.Abort(status);
  }
  void Abort(const absl::Status& status) override { record_.Abort(status); }

 protected:
  HandlerCall(CallEnv env, grpc::CallbackServerContext* context)
      : env_(env), context_of_call_(context), record_(MethodOf<Request>(), context) {
    context_.given_up = give_up_.get_token();
    context_.deadline = context->deadline();
  }

  // Admits the call, reads its request and runs `handler` with it, or refuses the call. Call it once, last in the
  // constructor. gRPC owns `bytes`, which live as long as the call; their content is dropped once it is parsed.
  void Begin(const grpc::ByteBuffer* bytes,
             std::function<absl::Status(const Request&, const RequestContext&)> handler) {
    absl::Status admitted = env_.connections.Enter(*context_of_call_, record_.place);
    if (admitted.ok()) admitted = env_.admission.calls().Take();
    if (!admitted.ok()) return record_.Finish(*this, admitted);
    is_admitted_ = true;
    if (!env_.open_calls.Add(this)) return record_.Finish(*this, errors::Draining());
    is_open_ = true;
    // gRPC made the buffer, and not as a constant: only the signature says const.
    const bool runs = env_.workers.Run(
        [this, bytes = const_cast<grpc::ByteBuffer*>(bytes), handler = std::move(handler)] { Work(*bytes, handler); });
    if (!runs) record_.Finish(*this, env_.admission.calls().Refusal());
  }

  // Blocks until nothing is on its way to the client any more, or the call is given up.
  virtual void WaitForWrites() {}

  std::stop_token given_up() const { return context_.given_up; }
  // Runs while a message or the end is on its way.
  WaitClock& to_client() { return record_.to_client; }

 private:
  // On a worker thread.
  void Work(grpc::ByteBuffer& bytes,
            const std::function<absl::Status(const Request&, const RequestContext&)>& handler) {
    const absl::Status result = [&]() -> absl::Status {
      Request request;
      ASSIGN_OR_RETURN(const BytesInWork in_work, ReadRequest(bytes, env_.admission, request));
      if constexpr (requires { request.numerics_version(); }) RETURN_IF_ERROR(CheckNumericsVersion(request));
      return handler(request, context_);
    }();
    WaitForWrites();
    std::unique_lock lock(mutex_);
    // A handler that has succeeded in spite of a drain has its answer on the way already.
    const absl::Status status = result.ok() ? result : ended_with_.value_or(result);
    lock.unlock();
    // The last use of this object on this thread: gRPC may delete it (OnDone) from now on.
    record_.Finish(*this, status);
  }

  void OnCancel() override { give_up_.request_stop(); }

  void OnDone() override {
    record_.WriteLine();
    if (is_admitted_) env_.admission.calls().GiveBack();
    if (is_open_) env_.open_calls.Remove(this);
    delete this;
  }

  const CallEnv env_;
  grpc::CallbackServerContext* const context_of_call_;
  CallRecord record_;
  std::stop_source give_up_;
  RequestContext context_;
  bool is_admitted_ = false;
  bool is_open_ = false;
  std::mutex mutex_;
  std::optional<absl::Status> ended_with_;
};

// A unary call.
template <typename Request, typename Response>
class UnaryCall final : public HandlerCall<grpc::ServerUnaryReactor, Request> {
 public:
  using Handler = absl::Status (*)(const Request&, const ServerEnv&, const RequestContext&, Response&);

  UnaryCall(CallEnv env, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
            grpc::ByteBuffer* response, Handler handler)
      : HandlerCall<grpc::ServerUnaryReactor, Request>(env, context) {
    this->Begin(request, [=, &server = env.server](const Request& message, const RequestContext& request_context) {
      Response reply;
      RETURN_IF_ERROR(handler(message, server, request_context, reply));
      return WriteReply(reply, *response);
    });
  }
};

// A server stream.
template <typename Request, typename Response>
class ServerStreamCall final : public HandlerCall<grpc::ServerWriteReactor<grpc::ByteBuffer>, Request>,
                               public ReplyWriter<Response> {
 public:
  using Handler = absl::Status (*)(const Request&, const ServerEnv&, const RequestContext&, ReplyWriter<Response>&);

  ServerStreamCall(CallEnv env, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request, Handler handler)
      : HandlerCall<grpc::ServerWriteReactor<grpc::ByteBuffer>, Request>(env, context) {
    this->Begin(request,
                [=, &server = env.server, this](const Request& message, const RequestContext& request_context) {
                  return handler(message, server, request_context, *this);
                });
  }

  bool WaitUntilReady(std::chrono::milliseconds patience) override {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, this->given_up(), patience, [this] { return !is_writing_; });
  }

  bool Write(const Response& message) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, this->given_up(), [this] { return !is_writing_; });
    if (is_writing_ || has_failed_ || this->given_up().stop_requested()) return false;
    if (!WriteReply(message, current_).ok()) return false;
    is_writing_ = true;
    lock.unlock();
    this->to_client().Start();
    this->StartWrite(&current_);
    return true;
  }

 private:
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    is_writing_ = false;
    this->to_client().Stop();
    if (!ok) has_failed_ = true;
    changed_.notify_all();
  }

  void WaitForWrites() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, this->given_up(), [this] { return !is_writing_; });
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  grpc::ByteBuffer current_;
  bool is_writing_ = false;
  bool has_failed_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_HANDLER_CALL_H_
