// Threads that run handlers. A handler may block (on a model, on a slow client), so there are as many threads as there
// are handlers running; they are kept for the next one. Free of gRPC; thread-safe.
#ifndef LOGITD_SERVER_WORKER_THREADS_H_
#define LOGITD_SERVER_WORKER_THREADS_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace logitd::server {

class WorkerThreads {
 public:
  WorkerThreads() = default;
  // Waits for every task. REQUIRES: no Run after this has begun, other than from tasks.
  ~WorkerThreads();

  // Runs `task` soon, on another thread. The number of tasks at once is bounded by admission (server/admission.h).
  // False: the system gives no thread, and the task was dropped.
  bool Run(std::function<void()> task);

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
  size_t idle_count_ = 0;
  bool stopping_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_WORKER_THREADS_H_
