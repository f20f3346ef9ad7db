// Per-call state: how long the client has kept us waiting, a forced abort, and the log line.
#ifndef LOGITD_SERVER_SERVICES_CALL_RECORD_H_
#define LOGITD_SERVER_SERVICES_CALL_RECORD_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "server/services/connection_calls.h"
#include "server/status.h"

namespace logitd::server {

// Measures how long something has been waited for. Thread-safe.
class WaitClock {
 public:
  using Clock = std::chrono::steady_clock;

  void Start() { since_ = Clock::now().time_since_epoch().count(); }
  void Stop() { since_ = 0; }
  bool HasLasted(Clock::duration limit, Clock::time_point now) const {
    const Clock::rep since = since_;
    return since != 0 && now.time_since_epoch().count() - since > limit.count();
  }

 private:
  // The start of the wait; 0: none is in progress.
  std::atomic<Clock::rep> since_{0};
};

// Thread-safe, except for Finish and WriteLine: call each once, in this order.
class CallRecord {
 public:
  // `method`: "Decode". REQUIRES: `context` lives as long as this.
  CallRecord(std::string method, grpc::CallbackServerContext* context)
      : method_(std::move(method)), context_(context), begun_(std::chrono::steady_clock::now()) {}

  // Runs while a message, or the end, is on its way to the client.
  WaitClock to_client;
  // The call's part of its connection's count, if it has one. Set before Finish.
  ConnectionCalls::Place place;

  // Ends the call at once, whatever is on its way. The client gets code and message, without details.
  // REQUIRES: gRPC is not done with the call.
  void Abort(const absl::Status& status);

  // Finishes the call of `reactor` with `status`, which WriteLine logs when gRPC is done with it. gRPC may delete
  // reactor and record from now on.
  template <typename Reactor>
  void Finish(Reactor& reactor, const absl::Status& status) {
    status_ = status;
    to_client.Start();
    place.GiveBack();
    reactor.Finish(ToGrpcStatus(status));
  }
  void WriteLine() const;

 private:
  const std::string method_;
  grpc::CallbackServerContext* const context_;
  const std::chrono::steady_clock::time_point begun_;
  absl::Status status_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_CALL_RECORD_H_
