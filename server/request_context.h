// Tells a handler whether its call has been given up, without gRPC types.
#ifndef LOGITD_SERVER_REQUEST_CONTEXT_H_
#define LOGITD_SERVER_REQUEST_CONTEXT_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "absl/status/status.h"
#include "core/errors.h"

namespace logitd::server {

// Thread-safe value. The token fires when the client cancels, its deadline passes or the server drains.
struct RequestContext {
  std::stop_token given_up;
  std::chrono::system_clock::time_point deadline = std::chrono::system_clock::time_point::max();
  // The request's own time limit: waits end then with DEADLINE_EXCEEDED, which the handler turns into a finish.
  std::chrono::steady_clock::time_point time_limit = std::chrono::steady_clock::time_point::max();

  bool IsTimeUp() const {
    return time_limit != std::chrono::steady_clock::time_point::max() && std::chrono::steady_clock::now() >= time_limit;
  }

  // Blocks until `done()` holds, the token fires or the deadline passes. Returns done().
  template <typename Done>
  bool WaitFor(std::condition_variable_any& changed, std::unique_lock<std::mutex>& lock, Done done) const {
    if (time_limit != std::chrono::steady_clock::time_point::max()) {
      const auto rest = deadline - std::chrono::system_clock::now();
      const auto limit_rest = time_limit - std::chrono::steady_clock::now();
      if (limit_rest < rest) return changed.wait_until(lock, given_up, time_limit, done);
    }
    // A deadline of "never" overflows the clock's conversions.
    if (deadline == std::chrono::system_clock::time_point::max()) return changed.wait(lock, given_up, done);
    return changed.wait_until(lock, given_up, deadline, done);
  }

  // OK while somebody wants the answer; else CANCELLED or DEADLINE_EXCEEDED. (A drained call ends with DRAINING,
  // whatever its handler returns: services/open_calls.h.)
  absl::Status Check() const {
    if (std::chrono::system_clock::now() >= deadline || IsTimeUp()) return errors::DeadlineExceeded();
    if (given_up.stop_requested()) return errors::Cancelled();
    return absl::OkStatus();
  }

  // The error of a wait that ended because nobody wants the answer any more.
  absl::Status WhyGivenUp() const {
    const absl::Status status = Check();
    return status.ok() ? errors::Cancelled() : status;
  }
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_REQUEST_CONTEXT_H_
