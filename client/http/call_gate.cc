#include "client/http/call_gate.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/status_macros.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// The delay before another try if the server names none. It doubles up to the longest.
constexpr std::chrono::milliseconds kFirstDelay{50};
constexpr std::chrono::milliseconds kLongestDelay{2000};
// If the server is full, few calls try, and other clients do not wait either.
constexpr std::chrono::milliseconds kLongestDelayIfFull{200};

absl::Status Left() { return absl::CancelledError("the client has left"); }

// Sleeps until then. False: `stop` was requested.
bool SleepUntil(CallGate::Clock::time_point then, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait_until(lock, stop, then, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace

uint64_t CallGate::TakeTicket() {
  std::lock_guard lock(mutex_);
  return ++last_ticket_;
}

absl::StatusOr<CallGate::Place> CallGate::Enter(Clock::time_point deadline, const std::stop_token& stop) {
  return Enter(deadline, stop, TakeTicket(), static_cast<size_t>(options_.max_waiting));
}

absl::StatusOr<CallGate::Place> CallGate::Enter(Clock::time_point deadline, const std::stop_token& stop,
                                                uint64_t ticket, size_t max_waiting) {
  std::unique_lock lock(mutex_);
  if (stop.stop_requested()) return Left();
  if (taken_ < window_ && waiters_.empty()) {
    ++taken_;
    return Place(this);
  }
  if (waiters_.size() >= max_waiting) {
    return Overloaded("the queue is full: " + std::to_string(waiters_.size()) + " calls wait already");
  }
  Waiter waiter;
  waiter.ticket = ticket;
  const auto later =
      std::find_if(waiters_.begin(), waiters_.end(), [ticket](const Waiter* other) { return other->ticket > ticket; });
  const auto position = waiters_.insert(later, &waiter);
  GivePlaces();
  waiter.woken.wait_until(lock, stop, deadline, [&waiter] { return waiter.has_place; });
  // GivePlaces has removed the waiter from the list if it has a place.
  if (waiter.has_place) return Place(this);
  waiters_.erase(position);
  if (stop.stop_requested()) return Left();
  return Overloaded("the request waited in the queue for " + std::to_string(options_.max_wait.count() / 1000) +
                    " s without a turn");
}

void CallGate::Leave() {
  std::lock_guard lock(mutex_);
  --taken_;
  GivePlaces();
}

void CallGate::OnTaken() {
  std::lock_guard lock(mutex_);
  if (++taken_in_row_ < window_) return;
  taken_in_row_ = 0;
  window_ = std::min(options_.places, window_ + std::max(1, window_ / 2));
  GivePlaces();
}

void CallGate::OnFull() {
  std::lock_guard lock(mutex_);
  taken_in_row_ = 0;
  // The calls that run now are those that it has room for.
  window_ = std::clamp(taken_ - 1, 1, window_);
}

void CallGate::GivePlaces() {
  while (taken_ < window_ && !waiters_.empty()) {
    // A place goes to the one that has waited longest.
    Waiter* next = waiters_.front();
    waiters_.pop_front();
    ++taken_;
    next->has_place = true;
    next->woken.notify_all();
  }
}

absl::Status CallGate::Run(const std::stop_token& stop, const std::function<absl::Status()>& call) {
  return RunHolding(stop, [&call](Place&) { return call(); });
}

absl::Status CallGate::RunHolding(const std::stop_token& stop, const std::function<absl::Status(Place& place)>& call) {
  const uint64_t ticket = TakeTicket();
  const Clock::time_point deadline = DeadlineFromNow();
  const Clock::time_point patience_end = std::min(deadline, Clock::now() + kServerPatience);
  std::chrono::milliseconds delay = kFirstDelay;
  // A call that was in once is not turned away.
  auto max_waiting = static_cast<size_t>(options_.max_waiting);
  while (true) {
    absl::Status status;
    {
      ASSIGN_OR_RETURN(Place place, Enter(deadline, stop, ticket, max_waiting));
      max_waiting = std::numeric_limits<size_t>::max();
      status = call(place);
      // Before the place is given back.
      if (status.ok()) OnTaken();
      if (IsServerFull(status)) OnFull();
    }
    if (status.ok()) return status;
    if (stop.stop_requested()) return Left();
    const bool is_away = IsServerAway(status);
    if (!is_away && !IsPassing(status)) return status;
    const Clock::time_point next = Clock::now() + std::max(delay, DelayOf(status).value_or(delay));
    delay = std::min(2 * delay, IsServerFull(status) ? kLongestDelayIfFull : kLongestDelay);
    if (next >= (is_away ? patience_end : deadline)) return status;
    if (!SleepUntil(next, stop)) return Left();
  }
}

int CallGate::waiting_count() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(waiters_.size());
}

}  // namespace logitd::http
