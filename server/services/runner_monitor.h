// Watches the attached runners: it sends heartbeats, and ends runners that are silent or hang. Thread-safe.
#ifndef LOGITD_SERVER_SERVICES_RUNNER_MONITOR_H_
#define LOGITD_SERVER_SERVICES_RUNNER_MONITOR_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "server/server_options.h"

namespace logitd::server {

// A watched attachment.
class WatchedRunner {
 public:
  virtual ~WatchedRunner() = default;
  // The monitor's thread calls it once every interval.
  virtual void OnHeartbeat(std::chrono::steady_clock::time_point now) = 0;
};

class RunnerMonitor {
 public:
  explicit RunnerMonitor(HeartbeatTimes times) : times_(times), thread_([this] { Watch(); }) {}

  ~RunnerMonitor() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  RunnerMonitor(const RunnerMonitor&) = delete;
  RunnerMonitor& operator=(const RunnerMonitor&) = delete;

  const HeartbeatTimes& times() const { return times_; }

  void Add(WatchedRunner* runner) {
    std::lock_guard lock(mutex_);
    runners_.insert(runner);
  }
  // Afterwards OnHeartbeat is not called any more. REQUIRES: OnHeartbeat does not call this.
  void Remove(WatchedRunner* runner) {
    std::lock_guard lock(mutex_);
    runners_.erase(runner);
  }

 private:
  void Watch() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, times_.interval, [this] { return stopping_; })) {
      const auto now = std::chrono::steady_clock::now();
      for (WatchedRunner* runner : runners_) runner->OnHeartbeat(now);
    }
  }

  const HeartbeatTimes times_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::unordered_set<WatchedRunner*> runners_;
  std::thread thread_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_RUNNER_MONITOR_H_
