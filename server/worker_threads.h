// Threads that run handlers. A handler may block on a model or on a slow client, so each running handler has a thread.
// A thread is kept for the next handler and ends after some idle time, because a sleeping thread holds a stack and
// memory that its allocations have left with it. Free of gRPC; thread-safe.
#ifndef LOGITD_SERVER_WORKER_THREADS_H_
#define LOGITD_SERVER_WORKER_THREADS_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

namespace logitd::server {

class WorkerThreads {
 public:
  static constexpr std::chrono::milliseconds kIdleTime{10'000};

  explicit WorkerThreads(std::chrono::milliseconds idle_time = kIdleTime) : idle_time_(idle_time) {}
  // Waits for every task. REQUIRES: only tasks call Run from now on.
  ~WorkerThreads();

  // Runs `task` soon, on another thread. server/admission.h bounds the number of tasks at once: max_calls +
  // max_open_streams. False: the system gives no thread, and the task was dropped.
  bool Run(std::function<void()> task);

  // The number of threads, busy or idle.
  size_t thread_count() const;

 private:
  // An idle thread; lives on its stack.
  struct Idle {
    std::condition_variable changed;
    std::function<void()> task;
  };
  using Threads = std::list<std::thread>;

  void Work(Threads::iterator self, std::function<void()> task);
  // The next task of a thread; empty: the thread ends. REQUIRES: `lock` holds mutex_.
  std::function<void()> WaitForTask(std::unique_lock<std::mutex>& lock);

  const std::chrono::milliseconds idle_time_;
  mutable std::mutex mutex_;
  // The thread that became idle last is the first to work again, so the others may end.
  std::vector<Idle*> idle_;
  Threads threads_;
  // At most one ended thread, which the next one to end joins.
  Threads ended_;
  std::condition_variable has_ended_;
  bool stopping_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_WORKER_THREADS_H_
