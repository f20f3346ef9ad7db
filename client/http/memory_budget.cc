#include "client/http/memory_budget.h"

#include <algorithm>

#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// Copies of a text: the body, its JSON value, and the message to the server.
constexpr int64_t kTextCopies = 3;
// An element of a list: a JSON value of 16 bytes, in a vector that doubles.
constexpr int64_t kElementBytes = 32;
// A list or an object itself, with the first element's room.
constexpr int64_t kContainerBytes = 64;
// A member of an object: a node of the map with its key and its value.
constexpr int64_t kMemberBytes = 96;
// Half of a text: a value of its own in the heap.
constexpr int64_t kQuoteBytes = 24;

}  // namespace

bool MemoryBudget::Lease::TryGrowTo(int64_t bytes) {
  if (budget_ == nullptr || bytes <= bytes_) return true;
  std::lock_guard lock(budget_->mutex_);
  if (budget_->taken_ + bytes - bytes_ > budget_->total_) return false;
  budget_->taken_ += bytes - bytes_;
  bytes_ = bytes;
  return true;
}

absl::Status MemoryBudget::Lease::GrowTo(int64_t bytes, Clock::time_point deadline, const std::stop_token& stop) {
  if (budget_ == nullptr || bytes <= bytes_) return absl::OkStatus();
  std::unique_lock lock(budget_->mutex_);
  // More than everything is everything.
  Waiter waiter{.bytes = std::min(bytes, budget_->total_)};
  const auto position = budget_->waiters_.insert(budget_->waiters_.end(), &waiter);
  budget_->ServeWaiters();
  waiter.woken.wait_until(lock, stop, deadline, [&waiter] { return waiter.has_bytes; });
  if (waiter.has_bytes) {
    bytes_ = waiter.bytes;
    return absl::OkStatus();
  }
  budget_->waiters_.erase(position);
  // It may have stood before others that need less.
  budget_->ServeWaiters();
  if (stop.stop_requested()) return absl::CancelledError("the client has left");
  return Overloaded("the requests in work need all memory that there is for them (--max-bodies-bytes)");
}

void MemoryBudget::Lease::GiveBack() {
  if (budget_ == nullptr || bytes_ == 0) return;
  std::lock_guard lock(budget_->mutex_);
  budget_->taken_ -= bytes_;
  bytes_ = 0;
  budget_->ServeWaiters();
}

void MemoryBudget::ServeWaiters() {
  while (!waiters_.empty() && taken_ + waiters_.front()->bytes <= total_) {
    Waiter& first = *waiters_.front();
    waiters_.pop_front();
    taken_ += first.bytes;
    first.has_bytes = true;
    first.woken.notify_all();
  }
}

int64_t MemoryBudget::taken() const {
  std::lock_guard lock(mutex_);
  return taken_;
}

int64_t JsonCost(std::string_view body) {
  int64_t cost = kTextCopies * static_cast<int64_t>(body.size());
  for (const char c : body) {
    if (c == ',') cost += kElementBytes;
    if (c == '[' || c == '{') cost += kContainerBytes;
    if (c == ':') cost += kMemberBytes;
    if (c == '"') cost += kQuoteBytes;
  }
  return cost;
}

}  // namespace logitd::http
