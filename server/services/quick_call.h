// Unary calls that are never refused for load: GetServerInfo and ListModels. They wait for nothing, so they run at once
// on gRPC's own thread, whatever else the server does.
//
// Equal replies share their bytes: a thousand clients that do not read cost a thousand calls, but one reply.
#ifndef LOGITD_SERVER_SERVICES_QUICK_CALL_H_
#define LOGITD_SERVER_SERVICES_QUICK_CALL_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <mutex>

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/request_context.h"
#include "server/services/call_env.h"
#include "server/services/call_record.h"
#include "server/services/request_reader.h"
#include "server/services/shared_bytes.h"
#include "server/status.h"

namespace logitd::server {

// `Request` has few fields or none, so it is not charged to the bytes in work.
template <typename Request, typename Response>
class QuickCall final : public grpc::ServerUnaryReactor, public OpenCall {
 public:
  using Handler = absl::Status (*)(const Request&, const ServerEnv&, const RequestContext&, Response&);

  // `shared` is that of the method: all its calls have the same one.
  QuickCall(CallEnv env, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
            grpc::ByteBuffer* response, Handler handler, SharedBytes& shared)
      : env_(env), record_(MethodOf<Request>(), context), is_open_(env.open_calls.Add(this)) {
    record_.Finish(*this, is_open_ ? Reply(*request, *response, handler, shared) : errors::Draining());
  }

  // The call has ended before anybody can end it. But its client may leave the reply unread.
  void End(const absl::Status&) override {}
  bool EndsByItself() const override { return true; }
  void EndIfOverdue(std::chrono::steady_clock::time_point now) override {
    const auto limit = env_.server.options.max_stall;
    if (record_.to_client.HasLasted(limit, now)) record_.Abort(errors::Stalled({kMaxStallMs.name, limit.count()}));
  }
  void Abort(const absl::Status& status) override { record_.Abort(status); }

 private:
  absl::Status Reply(const grpc::ByteBuffer& bytes, grpc::ByteBuffer& response, Handler handler, SharedBytes& shared) {
    static const WireShape& shape = WireShape::Of(*Request::descriptor());
    RETURN_IF_ERROR(CheckBytes(bytes, /*holds_rows=*/false, shape).status());
    grpc::ByteBuffer parsed = bytes;
    Request request;
    RETURN_IF_ERROR(ParseAndDrop(parsed, request));
    Response reply;
    RETURN_IF_ERROR(handler(request, env_.server, RequestContext(), reply));
    RETURN_IF_ERROR(WriteReply(reply, response));
    shared.Share(response);
    return absl::OkStatus();
  }

  void OnDone() override {
    record_.WriteLine();
    if (is_open_) env_.open_calls.Remove(this);
    delete this;
  }

  const CallEnv env_;
  CallRecord record_;
  const bool is_open_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_QUICK_CALL_H_
