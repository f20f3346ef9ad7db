// Counts the open calls of each connection and refuses one too many, with a reason.
//
// HTTP/2's own limit (SETTINGS_MAX_CONCURRENT_STREAMS) gives no reason: a client's gRPC library silently holds back the
// calls above it until others end. So we set that limit far above ours (server/server.cc).
//
// gRPC does not name the connection of a call: peer() is "unix:" for every client of a Unix socket. But each connection
// has one authentication context, which lives as long as the connection and its calls.
#ifndef LOGITD_SERVER_SERVICES_CONNECTION_CALLS_H_
#define LOGITD_SERVER_SERVICES_CONNECTION_CALLS_H_

#include <grpc/grpc_security.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "core/errors.h"

namespace logitd::server {

// Thread-safe.
class ConnectionCalls {
 public:
  explicit ConnectionCalls(const Limit& limit) : limit_(limit) {}

  // One call's part of its connection's count; its destructor gives it back. Must not outlive its ConnectionCalls. For
  // one thread.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), connection_(std::move(other.connection_)) {}
    Place& operator=(Place&& other) noexcept {
      std::swap(owner_, other.owner_);
      std::swap(connection_, other.connection_);
      return *this;
    }
    ~Place() { GiveBack(); }

    // Call it before the client can see the end of the call, because it may begin another call at once.
    void GiveBack() {
      if (owner_ != nullptr) std::exchange(owner_, nullptr)->Leave(connection_.get());
      connection_.reset();
    }

   private:
    friend class ConnectionCalls;
    struct Release {
      void operator()(grpc_auth_context* context) const { ::grpc_auth_context_release(context); }
    };

    ConnectionCalls* owner_ = nullptr;
    // Held, so that no other connection gets a context at the same address.
    std::unique_ptr<grpc_auth_context, Release> connection_;
  };

  // Counts a call in, or refuses it: LIMIT_EXCEEDED (max_streams_per_connection).
  absl::Status Enter(grpc::CallbackServerContext& context, Place& place) {
    place.connection_.reset(::grpc_call_auth_context(context.c_call()));
    // A transport without contexts: only the limits of the whole server hold.
    if (place.connection_ == nullptr) return absl::OkStatus();
    std::lock_guard lock(mutex_);
    int64_t& count = counts_[place.connection_.get()];
    if (count >= limit_) return errors::ConnectionFull(limit_);
    ++count;
    place.owner_ = this;
    return absl::OkStatus();
  }

 private:
  void Leave(const grpc_auth_context* connection) {
    std::lock_guard lock(mutex_);
    const auto found = counts_.find(connection);
    if (--found->second == 0) counts_.erase(found);
  }

  const Limit limit_;
  std::mutex mutex_;
  // Never 0.
  std::unordered_map<const grpc_auth_context*, int64_t> counts_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_CONNECTION_CALLS_H_
