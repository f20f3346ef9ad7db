// Helper threads for messages that have work for several processors.
//
//   crew.Run(sequences.size(), /*helpers=*/3, [&](size_t i) { Advance(sequences[i]); });   // returns when all are done
//
//   the caller   0     2  3        6         the caller and each helper take the next piece until none is left;
//   helper          1        4  5     7      nobody waits for a helper that is busy elsewhere
//
// - The caller works, too, so a call ends even if no helper is free. A call without helpers takes no lock.
// - All callers share `helper_count` threads. They start when they are first needed, and stay.
// - Callers that wait for helpers are served in turn.
// Free of gRPC; thread-safe.
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

  // Calls work(i) once for each i in [0, count), on this thread and on at most `helpers` others, in no particular
  // order and several at once. The caller sees everything that they wrote.
  void Run(size_t count, size_t helpers, absl::FunctionRef<void(size_t)> work);

  // The number of helper threads so far.
  size_t thread_count() const;

 private:
  // Lives on its caller's stack.
  struct Job {
    absl::FunctionRef<void(size_t)> work;
    size_t count;
    std::atomic<size_t> next = 0;
    // How many more helpers it takes, and how many work on it.
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
  // Runs that take more helpers; the one that has waited longest comes first.
  std::deque<Job*> jobs_;
  std::vector<std::thread> threads_;
  int idle_count_ = 0;
  bool stopping_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STEP_CREW_H_
