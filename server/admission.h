// How many calls run at once. Thread-safe.
#ifndef LOGITD_SERVER_ADMISSION_H_
#define LOGITD_SERVER_ADMISSION_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "core/errors.h"

namespace logitd::server {

class Admission {
 public:
  explicit Admission(int64_t limit) : limit_(limit) {}

  // Counts a call in, or refuses it: OVERLOADED with a retry delay. Every OK is paired with a Leave.
  absl::Status Enter() {
    const int64_t running = running_.fetch_add(1);
    if (running < limit_) return absl::OkStatus();
    running_.fetch_sub(1);
    return errors::Overloaded(running, limit_, kRetryAfterMs);
  }
  // The same refusal, for a call that the machine has no room for although it is within the limit.
  absl::Status Refusal() const { return errors::Overloaded(running_.load(), limit_, kRetryAfterMs); }
  void Leave() { running_.fetch_sub(1); }
  int64_t running() const { return running_.load(); }

 private:
  // About the time that a short call takes.
  static constexpr int32_t kRetryAfterMs = 250;

  const int64_t limit_;
  std::atomic<int64_t> running_{0};
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_ADMISSION_H_
