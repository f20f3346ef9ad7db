#include "client/http/parallel_calls.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <semaphore>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace logitd::http {
namespace {

// Threads of all requests together, besides those of their connections. Calls wait for one of at most 200 places
// (--max-calls), so more threads would only wait: 2,048 connections with 32 each would take all that the system has.
constexpr int kThreadsOfAll = 256;

// Never waited for: a request that gets no more threads makes its calls with those that it has, at least its own.
std::counting_semaphore<kThreadsOfAll>& FreeThreads() {
  static std::counting_semaphore<kThreadsOfAll> free_threads(kThreadsOfAll);
  return free_threads;
}

}  // namespace

absl::Status ForEachAtOnce(size_t count, const Caller& caller,
                           const std::function<absl::Status(size_t index, const Caller& caller)>& call) {
  if (count == 1) return call(0, caller);
  std::stop_source stop;
  const std::stop_callback on_left(caller.left, [&stop] { stop.request_stop(); });
  const Caller each{caller.bearer, stop.get_token()};
  std::atomic<size_t> next{0};
  std::mutex mutex;
  absl::Status first_failure;
  const auto work = [&] {
    for (size_t i = next++; i < count && !each.left.stop_requested(); i = next++) {
      absl::Status status = call(i, each);
      if (status.ok()) continue;
      std::lock_guard lock(mutex);
      // Those that fail because of this failure come later.
      if (first_failure.ok()) first_failure = std::move(status);
      stop.request_stop();
    }
  };
  std::vector<std::jthread> threads;
  try {
    while (threads.size() + 1 < std::min(count, kCallsAtOnce) && FreeThreads().try_acquire()) {
      threads.emplace_back([&work] {
        work();
        FreeThreads().release();
      });
    }
  } catch (const std::system_error&) {
    // The system has no more threads: those that are there do the work.
    FreeThreads().release();
  }
  work();
  threads.clear();
  if (first_failure.ok() && each.left.stop_requested()) return absl::CancelledError("the client has left");
  return first_failure;
}

}  // namespace logitd::http
