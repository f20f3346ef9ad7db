// A model runner that this process starts and supervises: a child process that dials in.
//
// A runner that ends is started again: soon if it had served, after a delay that grows if it had not. One that has lost
// its attachment but does not end (because it hangs) is killed. The child ends with this process, whatever way that
// ends.
#ifndef LOGITD_SERVER_MODELS_CHILD_RUNNER_H_
#define LOGITD_SERVER_MODELS_CHILD_RUNNER_H_

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace logitd::server {

// Thread-safe.
class ChildRunner {
 public:
  // How long a child may take to end after SIGTERM, or after it has lost its attachment.
  static constexpr std::chrono::milliseconds kEndTime{5000};

  // Starts `command` (the program's path, then its arguments). `on_exit` is told of every end of the child and when it
  // will be started again, on a thread of this object.
  ChildRunner(std::vector<std::string> command, std::function<void(std::chrono::milliseconds restart_in)> on_exit,
              std::chrono::milliseconds end_time = kEndTime);
  // Stops the child and waits for its end.
  ~ChildRunner();

  ChildRunner(const ChildRunner&) = delete;
  ChildRunner& operator=(const ChildRunner&) = delete;

  // Tells the child to end: SIGTERM, then SIGKILL. It is not started again.
  void RequestStop();
  // The child serves: if it ends now, it is worth to start it again at once.
  void OnAttached();
  // The child's attachment has ended: it has to end, too.
  void OnDetached();

  // How often the child has ended.
  int exit_count() const;
  // How it ended the last time, for people: "exit status 1".
  std::string last_exit() const;

 private:
  void Supervise();
  // Starts the child; false if that failed.
  bool Spawn();
  // Waits for the child's end, and sees to it if that is due.
  void Reap();
  // Waits until something changes, the child ends, or `until`. REQUIRES: mutex_ is not held.
  void Wait(int child_fd, std::optional<std::chrono::steady_clock::time_point> until);
  void Wake();

  const std::vector<std::string> command_;
  const std::function<void(std::chrono::milliseconds)> on_exit_;
  const std::chrono::milliseconds end_time_;
  // An eventfd: written to when one of the below changes.
  const int wake_fd_;

  mutable std::mutex mutex_;
  bool stopping_ = false;
  // 0: not running.
  pid_t pid_ = 0;
  bool has_served_ = false;
  // When the child is killed if it still runs.
  std::optional<std::chrono::steady_clock::time_point> kill_at_;
  int exit_count_ = 0;
  std::string last_exit_;
  std::thread supervisor_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_CHILD_RUNNER_H_
