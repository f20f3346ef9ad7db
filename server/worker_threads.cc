#include "server/worker_threads.h"

#include <exception>
#include <utility>

#include "core/float_environment.h"

namespace logitd::server {

WorkerThreads::~WorkerThreads() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  for (Idle* idle : idle_) idle->changed.notify_one();
  has_ended_.wait(lock, [this] { return threads_.empty(); });
  Threads last = std::move(ended_);
  lock.unlock();
  for (std::thread& thread : last) thread.join();
}

bool WorkerThreads::Run(std::function<void()> task) {
  std::lock_guard lock(mutex_);
  if (!idle_.empty()) {
    Idle& idle = *idle_.back();
    idle_.pop_back();
    idle.task = std::move(task);
    idle.changed.notify_one();
    return true;
  }
  const Threads::iterator self = threads_.emplace(threads_.begin());
  try {
    *self = std::thread([this, self, task = std::move(task)]() mutable { Work(self, std::move(task)); });
  } catch (const std::exception&) {
    // The system gives no more threads.
    threads_.erase(self);
    return false;
  }
  return true;
}

size_t WorkerThreads::thread_count() const {
  std::lock_guard lock(mutex_);
  return threads_.size();
}

void WorkerThreads::Work(Threads::iterator self, std::function<void()> task) {
  UseExactFloats();
  std::unique_lock lock(mutex_, std::defer_lock);
  while (task != nullptr) {
    task();
    task = nullptr;
    lock.lock();
    task = WaitForTask(lock);
    if (task != nullptr) lock.unlock();
  }
  Threads before = std::move(ended_);
  ended_.clear();
  ended_.splice(ended_.end(), threads_, self);
  // Under the lock, because this object is destroyed when the last thread is joined.
  has_ended_.notify_all();
  lock.unlock();
  for (std::thread& thread : before) thread.join();
}

std::function<void()> WorkerThreads::WaitForTask(std::unique_lock<std::mutex>& lock) {
  if (stopping_) return nullptr;
  Idle idle;
  idle_.push_back(&idle);
  idle.changed.wait_for(lock, idle_time_, [&] { return idle.task != nullptr || stopping_; });
  if (idle.task == nullptr) std::erase(idle_, &idle);
  return std::move(idle.task);
}

}  // namespace logitd::server
