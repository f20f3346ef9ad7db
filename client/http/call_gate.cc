#include "client/http/call_gate.h"

#include <algorithm>
#include <string>

#include "base/status_macros.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// The delay before another try if the server names none. It doubles up to the longest.
constexpr std::chrono::milliseconds kFirstDelay{50};
constexpr std::chrono::milliseconds kLongestDelay{2000};

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

absl::StatusOr<CallGate::Place> CallGate::Enter(Clock::time_point deadline, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (stop.stop_requested()) return Left();
  if (taken_ < options_.places && waiters_.empty()) {
    ++taken_;
    return Place(this);
  }
  if (static_cast<int>(waiters_.size()) >= options_.max_waiting) {
    return Overloaded("the queue is full: " + std::to_string(waiters_.size()) + " calls wait already");
  }
  Waiter waiter;
  const auto position = waiters_.insert(waiters_.end(), &waiter);
  waiter.woken.wait_until(lock, stop, deadline, [&waiter] { return waiter.has_place; });
  // Leave() has removed the waiter from the list if it has a place.
  if (waiter.has_place) return Place(this);
  waiters_.erase(position);
  if (stop.stop_requested()) return Left();
  return Overloaded("the request waited in the queue for " + std::to_string(options_.max_wait.count() / 1000) +
                    " s without a turn");
}

void CallGate::Leave() {
  std::lock_guard lock(mutex_);
  if (waiters_.empty()) {
    --taken_;
    return;
  }
  // The place goes on to the one that has waited longest.
  Waiter* next = waiters_.front();
  waiters_.pop_front();
  next->has_place = true;
  next->woken.notify_all();
}

absl::Status CallGate::Run(const std::stop_token& stop, const std::function<absl::Status()>& call) {
  return RunHolding(stop, [&call](const Place&) { return call(); });
}

absl::Status CallGate::RunHolding(const std::stop_token& stop, const std::function<absl::Status(Place place)>& call) {
  const Clock::time_point deadline = DeadlineFromNow();
  const Clock::time_point patience_end = std::min(deadline, Clock::now() + kServerPatience);
  std::chrono::milliseconds delay = kFirstDelay;
  while (true) {
    ASSIGN_OR_RETURN(Place place, Enter(deadline, stop));
    const absl::Status status = call(std::move(place));
    if (status.ok()) return status;
    if (stop.stop_requested()) return Left();
    const bool is_away = IsServerAway(status);
    if (!is_away && !IsPassing(status)) return status;
    const Clock::time_point next = Clock::now() + std::max(delay, DelayOf(status).value_or(delay));
    delay = std::min(2 * delay, kLongestDelay);
    if (next >= (is_away ? patience_end : deadline)) return status;
    if (!SleepUntil(next, stop)) return Left();
  }
}

int CallGate::waiting_count() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(waiters_.size());
}

}  // namespace logitd::http
