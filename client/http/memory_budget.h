// Memory that all requests share: each takes its part before it uses it, and gives it back when its reply is written.
//
//   MemoryBudget budget(512 << 20);
//   MemoryBudget::Lease lease(&budget);
//   if (!lease.TryGrowTo(65536)) ... refuse ...;                       // never waits
//   RETURN_IF_ERROR(lease.GrowTo(JsonCost(body), deadline, stop));     // waits for those that end
//
// Whoever holds nothing may wait: those that hold something end by themselves. Whoever holds a part that is still
// growing must not wait, because two of them could wait for each other.
//
// Thread-safe; a lease belongs to one thread.
#ifndef LOGITD_CLIENT_HTTP_MEMORY_BUDGET_H_
#define LOGITD_CLIENT_HTTP_MEMORY_BUDGET_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <stop_token>
#include <string_view>

#include "absl/status/status.h"

namespace logitd::http {

class MemoryBudget {
 public:
  using Clock = std::chrono::steady_clock;

  // A part of the budget. It goes back when the lease goes.
  class Lease {
   public:
    // Null: a lease without bounds.
    explicit Lease(MemoryBudget* budget) : budget_(budget) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { GiveBack(); }

    // Grows to at least `bytes`. False: there is not so much now, and the lease is what it was.
    bool TryGrowTo(int64_t bytes);
    // Waits, first come, first served, until there is so much. A lease larger than the whole budget waits until it is
    // alone. Errors: overloaded (`deadline` has passed); kCancelled (`stop` was requested). REQUIRES: the lease holds
    // nothing.
    absl::Status GrowTo(int64_t bytes, Clock::time_point deadline, const std::stop_token& stop);
    void GiveBack();

   private:
    MemoryBudget* const budget_;
    int64_t bytes_ = 0;
  };

  // REQUIRES: total >= 1.
  explicit MemoryBudget(int64_t total) : total_(total) {}

  int64_t taken() const;

 private:
  struct Waiter {
    int64_t bytes = 0;
    bool has_bytes = false;
    std::condition_variable_any woken;
  };

  // Serves those that wait, as far as it goes. REQUIRES: mutex_ is held.
  void ServeWaiters();

  const int64_t total_;
  mutable std::mutex mutex_;
  int64_t taken_ = 0;
  std::list<Waiter*> waiters_;
};

// Bytes that the request of this body takes while it is in work, at most about: the body, its JSON values
// (strict_json.h) and the messages to the server. Counted from the signs of JSON, those within texts too.
int64_t JsonCost(std::string_view body);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_MEMORY_BUDGET_H_
