// Whether a call that failed is worth another attempt, and the wait before it: a server that is full, restarts, or
// waits for its runner is asked again, for a bounded time.
//
//   Patience patience({.retry_for = std::chrono::minutes(5)});
//   absl::Status status = call();
//   while (!status.ok()) {
//     RETURN_IF_ERROR(patience.WaitAfter(status));
//     status = call();
//   }
//
// One thread.
#ifndef LOGITD_CLIENT_LOGITD_PATIENCE_H_
#define LOGITD_CLIENT_LOGITD_PATIENCE_H_

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "logitd/v1/error.pb.h"

namespace logitd::client {

struct PatienceOptions {
  // The longest time without an answer, >= 0. 0: no second attempt.
  std::chrono::milliseconds retry_for = std::chrono::minutes(5);
  std::function<std::chrono::steady_clock::time_point()> now = [] { return std::chrono::steady_clock::now(); };
  // Sleeps the calling thread. Null: SleepFor.
  std::function<void(std::chrono::milliseconds)> sleep = nullptr;
  // Called before the first wait since the last answer, with the reason. Null: nobody wants to know.
  std::function<void(const absl::Status& failure)> on_outage = nullptr;
};

// Sleeps the calling thread.
void SleepFor(std::chrono::milliseconds duration);

// Whether the same request may succeed later: the connection failed, the server is full and names a delay, drains, or
// has no runner.
bool IsTransient(const absl::Status& status);
bool IsTransient(const v1::Error& error);

class Patience {
 public:
  explicit Patience(PatienceOptions options) : options_(std::move(options)) {}

  // There was an answer: the time without one begins again.
  void Reset();

  // Sleeps before the next attempt: the delay that the server names, and at least 50 ms, then twice as long each time,
  // up to 2 s. Errors: `failure` itself if another attempt does not help; with a longer message, and without its
  // details, if retry_for is over. REQUIRES: !failure.ok().
  absl::Status WaitAfter(const absl::Status& failure);

 private:
  const PatienceOptions options_;
  std::optional<std::chrono::steady_clock::time_point> first_failure_;
  std::chrono::milliseconds backoff_{0};
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_PATIENCE_H_
