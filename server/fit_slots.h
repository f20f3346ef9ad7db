// The number of fits that run at once, of all calls: half of the processors, and at least one.
//
// A fit computes for seconds and keeps probabilities that are not charged to its request (up to 32 MiB). The slots
// bound both, and leave processors to other calls.
//
//   ASSIGN_OR_RETURN(const FitSlots::Lease slot, env.fits.Take(context));
//
// Thread-safe.
#ifndef LOGITD_SERVER_FIT_SLOTS_H_
#define LOGITD_SERVER_FIT_SLOTS_H_

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "server/request_context.h"

namespace logitd::server {

class FitSlots {
 public:
  FitSlots() : FitSlots(std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 2)) {}
  explicit FitSlots(int count) : free_count_(count) {}

  // Gives its slot back when it is destroyed. REQUIRES: the slots outlive it.
  struct GiveBack {
    void operator()(FitSlots* slots) const {
      {
        std::lock_guard lock(slots->mutex_);
        ++slots->free_count_;
      }
      slots->changed_.notify_one();
    }
  };
  using Lease = std::unique_ptr<FitSlots, GiveBack>;

  // Waits until a slot is free. Errors: CANCELLED, DEADLINE_EXCEEDED.
  absl::StatusOr<Lease> Take(const RequestContext& context) {
    std::unique_lock lock(mutex_);
    if (!context.WaitFor(changed_, lock, [this] { return free_count_ > 0; })) return context.WhyGivenUp();
    --free_count_;
    return Lease(this);
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int free_count_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_FIT_SLOTS_H_
