// Lets at most so many calls to the server run at once. Others wait in a queue, first come, first served, instead of
// being refused: a harness that gets three refusals gives up its whole run.
//
// A server that is full has other clients too. Each call that it refuses for that takes a place out of use, and each
// row of calls that it takes brings some back, so that about as many calls run as it has room for. A refused call goes
// to the front again, before all that came after it: the server's room goes to those that have waited longest.
//
//   CallGate gate({.places = 128, .max_waiting = 4096, .max_wait = 300s});
//   ASSIGN_OR_RETURN(const CallGate::Place place, gate.Enter(deadline, stop));
//   ... the call ...                                  // the place is free again when `place` goes
//
// Thread-safe.
#ifndef LOGITD_CLIENT_HTTP_CALL_GATE_H_
#define LOGITD_CLIENT_HTTP_CALL_GATE_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd::http {

class CallGate {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    // Calls at once, >= 1.
    int places = 1;
    // Calls that wait.
    int max_waiting = 0;
    // The longest wait, over all tries of a call.
    std::chrono::milliseconds max_wait{0};
  };

  // A place. It may be moved, and is given back once.
  class Place {
   public:
    explicit Place(CallGate* gate) : gate_(gate) {}
    Place(Place&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    ~Place() {
      if (gate_ != nullptr) gate_->Leave();
    }

   private:
    CallGate* gate_;
  };

  explicit CallGate(Options options) : options_(options), window_(options.places) {}

  // Waits for a place until `deadline`. Errors: overloaded (the queue is full, or the time has passed); kCancelled
  // (`stop` was requested).
  absl::StatusOr<Place> Enter(Clock::time_point deadline, const std::stop_token& stop);

  // Makes a call in a place. As long as it fails in a way that passes (IsPassing), its place is given back, and it is
  // made again after the delay that the server names. A server that is away is waited for kServerPatience.
  absl::Status Run(const std::stop_token& stop, const std::function<absl::Status()>& call);
  // As Run, for a call that takes its place, and keeps it, when it has succeeded.
  absl::Status RunHolding(const std::stop_token& stop, const std::function<absl::Status(Place& place)>& call);

  int waiting_count() const;
  Clock::time_point DeadlineFromNow() const { return Clock::now() + options_.max_wait; }

 private:
  struct Waiter {
    // Smaller: it came earlier.
    uint64_t ticket = 0;
    bool has_place = false;
    std::condition_variable_any woken;
  };

  uint64_t TakeTicket();
  // `max_waiting`: it is refused if so many wait already.
  absl::StatusOr<Place> Enter(Clock::time_point deadline, const std::stop_token& stop, uint64_t ticket,
                              size_t max_waiting);
  void Leave();
  // The server took a call, or it is full.
  void OnTaken();
  void OnFull();
  // REQUIRES: mutex_ is held.
  void GivePlaces();

  const Options options_;
  mutable std::mutex mutex_;
  uint64_t last_ticket_ = 0;
  int taken_ = 0;
  // The places in use, [1, options_.places].
  int window_;
  // Calls that the server has taken since the window changed.
  int taken_in_row_ = 0;
  // By ticket.
  std::list<Waiter*> waiters_;
};

// A server that restarts is back by then; one that is not there should be reported while its user still looks.
inline constexpr std::chrono::seconds kServerPatience{10};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CALL_GATE_H_
