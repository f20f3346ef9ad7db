// The model runner that `logitd --model FILE` starts and supervises: a child process that dials in.
//
// A runner that ends after it has served is started again, after a delay that grows with each quick failure. The child
// ends with this process, whatever way that ends.
#ifndef LOGITD_SERVER_MODELS_CHILD_RUNNER_H_
#define LOGITD_SERVER_MODELS_CHILD_RUNNER_H_

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace logitd::server {

// Thread-safe.
class ChildRunner {
 public:
  // Starts `command` (the program's path, then its arguments). `on_exit` is told of every end of the child, on a thread
  // of its own.
  ChildRunner(std::vector<std::string> command, std::function<void()> on_exit);
  // Stops the child: SIGTERM, then SIGKILL.
  ~ChildRunner();

  ChildRunner(const ChildRunner&) = delete;
  ChildRunner& operator=(const ChildRunner&) = delete;

  // How often the child has ended.
  int exit_count() const;
  // How it ended the last time, for people: "exit status 1".
  std::string last_exit() const;

 private:
  void Supervise();
  // Starts the child; false if that failed.
  bool Spawn();
  // Waits for the child's end.
  void Reap();

  const std::vector<std::string> command_;
  const std::function<void()> on_exit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  // 0: not running.
  pid_t pid_ = 0;
  int exit_count_ = 0;
  std::string last_exit_;
  std::thread supervisor_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_CHILD_RUNNER_H_
