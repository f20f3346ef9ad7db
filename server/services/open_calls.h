// The running calls, so that a drain can end each of them with one status. Thread-safe.
#ifndef LOGITD_SERVER_SERVICES_OPEN_CALLS_H_
#define LOGITD_SERVER_SERVICES_OPEN_CALLS_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <unordered_set>

#include "absl/status/status.h"

namespace logitd::server {

// A call that can be ended from outside.
class OpenCall {
 public:
  virtual ~OpenCall() = default;
  // Ends the call with `status`, soon. Any thread may call it between Add and Remove.
  virtual void End(const absl::Status& status) = 0;
  // Whether the call ends without its client; an idle stream does not.
  virtual bool EndsByItself() const = 0;
  // Ends the call if its client has kept it waiting for too long.
  virtual void EndIfOverdue(std::chrono::steady_clock::time_point now) {}
  // Ends the call at once, after End, because its client does not even read the end.
  virtual void Abort(const absl::Status& status) {}
};

class OpenCalls {
 public:
  // False: the server drains, and the call must not begin.
  bool Add(OpenCall* call) {
    std::lock_guard lock(mutex_);
    if (draining_) return false;
    calls_.insert(call);
    return true;
  }

  // REQUIRES: nothing uses the call afterwards but its destructor.
  void Remove(OpenCall* call) {
    std::lock_guard lock(mutex_);
    calls_.erase(call);
    if (calls_.empty()) empty_.notify_all();
  }

  // Lets no new call begin, and ends the calls that do not end by themselves.
  void Drain(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    draining_ = true;
    for (OpenCall* call : calls_) {
      if (!call->EndsByItself()) call->End(status);
    }
  }

  // Ends every open call.
  void EndAll(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    draining_ = true;
    for (OpenCall* call : calls_) call->End(status);
  }

  void AbortAll(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    for (OpenCall* call : calls_) call->Abort(status);
  }

  void EndOverdue() {
    const auto now = std::chrono::steady_clock::now();
    std::lock_guard lock(mutex_);
    for (OpenCall* call : calls_) call->EndIfOverdue(now);
  }

  // Waits until no call is open; false after `timeout`.
  bool WaitUntilEmpty(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    return empty_.wait_for(lock, timeout, [this] { return calls_.empty(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  std::unordered_set<OpenCall*> calls_;
  bool draining_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_OPEN_CALLS_H_
