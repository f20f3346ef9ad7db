// How many calls each connection has open, so that one too many is refused with a reason.
//
// HTTP/2 has a limit of its own (SETTINGS_MAX_CONCURRENT_STREAMS), but a client's gRPC library keeps what is above it
// back without a word, for as long as the calls before it last. So that limit is far above ours (server/server.cc).
//
// Which connection a call came over, gRPC does not say: peer() is "unix:" for every client of a Unix socket. But it
// makes one authentication context for each connection, and keeps it as long as the connection and its calls.
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

  // One call's part of its connection's count, given back with it. Must not outlive its ConnectionCalls. One thread.
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

    // Before the client can see that the call has ended: it may begin another one at once.
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
    // Held, so that no other connection's gets the same address.
    std::unique_ptr<grpc_auth_context, Release> connection_;
  };

  // Counts a call in, or refuses it: LIMIT_EXCEEDED (max_streams_per_connection).
  absl::Status Enter(grpc::CallbackServerContext& context, Place& place) {
    place.connection_.reset(::grpc_call_auth_context(context.c_call()));
    // A transport without one: the limits of the whole server hold.
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
