#include "server/worker_threads.h"

#include <exception>
#include <utility>

#include "core/float_environment.h"

namespace logitd::server {

WorkerThreads::~WorkerThreads() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerThreads::Run(std::function<void()> task) {
  std::lock_guard lock(mutex_);
  tasks_.push_back(std::move(task));
  if (tasks_.size() <= idle_count_ || stopping_) {
    changed_.notify_one();
    return true;
  }
  try {
    threads_.emplace_back([this] { Work(); });
  } catch (const std::exception&) {
    // A limit on threads or memory. Whoever becomes idle could take the task, but all may be blocked for long.
    tasks_.pop_back();
    return false;
  }
  return true;
}

void WorkerThreads::Work() {
  UseExactFloats();
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_count_;
    changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    --idle_count_;
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
  }
}

}  // namespace logitd::server
