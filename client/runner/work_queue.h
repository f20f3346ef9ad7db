// A queue by which one thread hands work to another.
#ifndef LOGITD_CLIENT_RUNNER_WORK_QUEUE_H_
#define LOGITD_CLIENT_RUNNER_WORK_QUEUE_H_

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace logitd::runner {

// First in, first out. Thread-safe.
template <typename T>
class WorkQueue {
 public:
  void Push(T item) {
    {
      std::lock_guard lock(mutex_);
      items_.push_back(std::move(item));
    }
    changed_.notify_one();
  }

  // Drops items that have not been taken: their results have nowhere to go.
  void Close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      items_.clear();
    }
    changed_.notify_all();
  }

  // Blocks until there is an item; returns nothing once the queue is closed.
  std::optional<T> Pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_ || !items_.empty(); });
    if (closed_) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_WORK_QUEUE_H_
