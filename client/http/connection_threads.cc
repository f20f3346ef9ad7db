#include "client/http/connection_threads.h"

#include <system_error>
#include <utility>

namespace logitd::http {
namespace {

thread_local bool is_refusing = false;
// Of the thread that refuses.
thread_local const ConnectionThreads* own_threads = nullptr;

}  // namespace

ConnectionThreads::ConnectionThreads(int max_threads) : max_threads_(max_threads) {
  refuser_ = std::thread([this] {
    is_refusing = true;
    own_threads = this;
    Serve(refused_, refused_added_);
  });
}

ConnectionThreads::~ConnectionThreads() { shutdown(); }

bool ConnectionThreads::IsRefusing() { return is_refusing; }

bool ConnectionThreads::IsAnotherWaiting() {
  if (own_threads == nullptr) return false;
  std::lock_guard lock(own_threads->mutex_);
  return !own_threads->refused_.empty();
}

void ConnectionThreads::Serve(Queue& queue, std::condition_variable& added) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (!is_refusing) ++idle_;
    added.wait(lock, [&] { return !queue.empty() || ends_; });
    if (!is_refusing) --idle_;
    if (queue.empty()) return;
    const std::function<void()> connection = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    connection();
    lock.lock();
  }
}

void ConnectionThreads::enqueue(std::function<void()> connection) {
  std::lock_guard lock(mutex_);
  // A thread that was woken and has not run yet counts as idle, so those that wait for it do too.
  if (idle_ > static_cast<int>(connections_.size())) {
    connections_.push_back(std::move(connection));
    added_.notify_one();
    return;
  }
  if (static_cast<int>(threads_.size()) < max_threads_) {
    try {
      threads_.emplace_back([this] { Serve(connections_, added_); });
      connections_.push_back(std::move(connection));
      return;
    } catch (const std::system_error&) {
      // The system has no more threads.
    }
  }
  refused_.push_back(std::move(connection));
  refused_added_.notify_one();
}

void ConnectionThreads::shutdown() {
  {
    std::lock_guard lock(mutex_);
    ends_ = true;
  }
  added_.notify_all();
  refused_added_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  if (refuser_.joinable()) refuser_.join();
}

}  // namespace logitd::http
