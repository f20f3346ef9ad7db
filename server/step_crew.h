// Threads that lend a hand where one message has work for several processors.
//
//   crew.Run(sequences.size(), /*helpers=*/3, [&](size_t i) { Advance(sequences[i]); });   // returns when all are done
//
//   the caller   0     2  3        6         takes the next piece again and again, as each helper does; nobody waits
//   helper          1        4  5     7      for a helper that is busy elsewhere
//
// The caller always works itself, so a call ends even if no helper is free, and one that wants none pays nothing: no
// lock, no hand-over. There are `helper_count` threads for all callers together, however many there are; they are made
// when they are first wanted, and kept. Callers that wait for helpers are served in turn. Free of gRPC; thread-safe.
#ifndef LOGITD_SERVER_STEP_CREW_H_
#define LOGITD_SERVER_STEP_CREW_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace logitd::server {

class StepCrew {
 public:
  // REQUIRES: helper_count >= 0.
  explicit StepCrew(int helper_count) : helper_count_(helper_count) {}
  // REQUIRES: no Run is in progress.
  ~StepCrew();

  // Calls work(i) once for each i in [0, count), on this thread and on at most `helpers` others; in no particular
  // order, several at once. All that they wrote is seen by the caller afterwards.
  void Run(size_t count, size_t helpers, absl::FunctionRef<void(size_t)> work);

  // How many helpers there are so far.
  size_t thread_count() const;

 private:
  // Lives on its caller's stack.
  struct Job {
    absl::FunctionRef<void(size_t)> work;
    size_t count;
    std::atomic<size_t> next = 0;
    // How many more helpers it takes, and how many are at it.
    size_t wanted;
    int busy = 0;
    std::condition_variable done;
  };

  static void WorkOn(Job& job);
  void Help();
  // REQUIRES: mutex_ is held.
  void MakeThreads();

  const int helper_count_;
  mutable std::mutex mutex_;
  std::condition_variable has_job_;
  // Those that take more helpers; whoever has waited longest comes first.
  std::deque<Job*> jobs_;
  std::vector<std::thread> threads_;
  int idle_count_ = 0;
  bool stopping_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STEP_CREW_H_
