// Bounds how many things of one kind exist at once: running calls, open streams, open watches. Thread-safe.
#ifndef LOGITD_SERVER_PLACES_H_
#define LOGITD_SERVER_PLACES_H_

#include <atomic>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "core/errors.h"

namespace logitd::server {

class Places {
 public:
  // About the time that a short call takes.
  static constexpr int32_t kRetryAfterMs = 250;

  // `what` ("calls are running") is a constant.
  Places(const Limit& limit, std::string_view what) : limit_(limit), what_(what) {}

  // Takes a place, or refuses it: OVERLOADED with a retry delay. Every OK is paired with a GiveBack.
  absl::Status Take() {
    const int64_t taken = taken_.fetch_add(1);
    if (taken < limit_) return absl::OkStatus();
    taken_.fetch_sub(1);
    return errors::Overloaded(what_, taken, limit_, kRetryAfterMs);
  }
  void GiveBack() { taken_.fetch_sub(1); }

  // The same refusal, for a call within the limit that the machine has no room for.
  absl::Status Refusal() const { return errors::Overloaded(what_, taken(), limit_, kRetryAfterMs); }
  int64_t taken() const { return taken_.load(); }

 private:
  const Limit limit_;
  const std::string_view what_;
  std::atomic<int64_t> taken_{0};
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_PLACES_H_
