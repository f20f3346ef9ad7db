// Threads that run handlers. A handler may block (on a model, on a slow client), so there are as many threads as there
// are handlers running; they are kept for the next one, and end when they have had nothing to do for a while: a thread
// that sleeps holds a stack, and memory that its allocations have left with it. Free of gRPC; thread-safe.
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
  // Waits for every task. REQUIRES: no Run after this has begun, other than from tasks.
  ~WorkerThreads();

  // Runs `task` soon, on another thread. The number of tasks at once is bounded by admission
  // (server/admission.h: max_calls and max_open_streams together).
  // False: the system gives no thread, and the task was dropped.
  bool Run(std::function<void()> task);

  // How many there are, busy or idle.
  size_t thread_count() const;

 private:
  // A thread that has nothing to do; lives on its stack.
  struct Idle {
    std::condition_variable changed;
    std::function<void()> task;
  };
  using Threads = std::list<std::thread>;

  void Work(Threads::iterator self, std::function<void()> task);
  // The next task of a thread; none: it ends. REQUIRES: `lock` holds mutex_.
  std::function<void()> WaitForTask(std::unique_lock<std::mutex>& lock);

  const std::chrono::milliseconds idle_time_;
  mutable std::mutex mutex_;
  // Whoever became idle last is the first to be busy again: the others may end.
  std::vector<Idle*> idle_;
  Threads threads_;
  // Those that are at their end, to be joined by the next one: at most one.
  Threads ended_;
  std::condition_variable has_ended_;
  bool stopping_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_WORKER_THREADS_H_
