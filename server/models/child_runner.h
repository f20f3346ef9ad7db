// A model runner that this process starts and supervises: a child process that dials in.
//
// A runner that ends is started again: soon if it had served, after a delay that grows if it had not. One that has lost
// its attachment but does not end (because it hangs) is killed. The child ends with this process, whatever way that
// ends. What the child writes to its standard output and error is read here, line by line.
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

#include "server/models/line_splitter.h"
#include "server/models/runner_end.h"

namespace logitd::server {

// How a child ended.
struct RunnerExit {
  std::string runner_name;
  RunnerEnd end;
  // The last line that it wrote, or "".
  std::string last_line;
  // Time until it is started again.
  std::chrono::milliseconds restart_in{0};
};

// What a child does, as it happens. Both are called on the child's supervising thread, and never under a lock.
struct ChildEvents {
  // The child has ended. Called after all of its lines.
  std::function<void(const RunnerExit&)> on_exit = [](const RunnerExit&) {};
  // The child has written a line to its standard output or error, bounded in length. If a child ends before it has
  // served, its last line is the reason: on_exit reports that line, and on_line does not.
  std::function<void(const std::string& runner_name, const std::string& line)> on_line = [](const std::string&,
                                                                                            const std::string&) {};
};

// Thread-safe.
class ChildRunner {
 public:
  // How long a child may take to end after SIGTERM, or after it has lost its attachment.
  static constexpr std::chrono::milliseconds kEndTime{5000};
  // How long it is waited for the end of a child whose stream has ended. A process that dies closes its files a moment
  // before it can be waited for; one that leaves in order gives back its memory in between.
  static constexpr std::chrono::milliseconds kCauseTime{1000};
  // How long a line of a child that has not served is kept back, to see whether the child ends with it.
  static constexpr std::chrono::milliseconds kLineTime{250};

  // Starts `command`, the program's path and its arguments, as the runner of that name.
  ChildRunner(std::string name, std::vector<std::string> command, ChildEvents events,
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
  // After OnDetached: how the child ended whose attachment it was. Unset: that is not known yet, and `then` is told of
  // it, within kCauseTime; kUnknown if it still runs then.
  std::optional<RunnerEnd> AwaitEnd(std::function<void(const RunnerEnd&)> then);

  // How often the child has ended.
  int exit_count() const;
  // How it ended the last time, for people: "exit status 1"; and the last line that it wrote before, or "".
  std::string last_exit() const;
  std::string last_line() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiter {
    Clock::time_point until;
    std::function<void(const RunnerEnd&)> then;
  };

  void Supervise();
  // Starts the child; false if that failed.
  bool Spawn();
  // Waits for the child's end, and sees to it if that is due.
  void Reap();
  bool HasServed() const;
  // Tells the line that is kept back, if there is one.
  void TellLine();
  // Reads what the child has written, up to `most` bytes.
  void ReadOutput(size_t most);
  // Tells those who wait for the end: all, if it is known, else those whose time is over.
  void TellWaiters(const RunnerEnd* end);
  // Reaps what processes that have ended have left, if it is this process that they were left to.
  void ReapOrphans();
  // Waits until something changes, the child ends or writes, or `until`. REQUIRES: mutex_ is not held.
  void Wait(int child_fd, std::optional<Clock::time_point> until);
  void Wake();

  const std::string name_;
  const std::vector<std::string> command_;
  const ChildEvents events_;
  const std::chrono::milliseconds end_time_;
  // An eventfd: written to when one of the below changes.
  const int wake_fd_;

  // The supervisor's: where the child's output comes from, or -1, its lines, the last of them, and when that is told;
  // unset: it has been.
  int output_fd_ = -1;
  std::string line_;
  std::optional<Clock::time_point> tell_line_at_;
  LineSplitter lines_;
  // Process groups of children that have ended, some of whose processes may not have.
  std::vector<pid_t> orphaned_groups_;

  mutable std::mutex mutex_;
  bool stopping_ = false;
  // 0: not running.
  pid_t pid_ = 0;
  bool has_served_ = false;
  // A child that had served has ended, and its end has not been asked for yet.
  bool has_unclaimed_end_ = false;
  // When the child is killed if it still runs.
  std::optional<Clock::time_point> kill_at_;
  int exit_count_ = 0;
  RunnerEnd last_end_;
  std::string last_line_;
  std::vector<Waiter> waiters_;
  std::thread supervisor_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_CHILD_RUNNER_H_
