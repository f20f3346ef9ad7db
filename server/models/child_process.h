// A program that this process starts and supervises: a model runner, or logitd-http.
//
// - A child that ends is started again: soon if it had served, after a growing delay if it had not.
// - A runner that has lost its attachment but does not end, because it hangs, is killed.
// - The child ends with this process, however this process ends.
// - This class reads the child's standard output and error, line by line.
#ifndef LOGITD_SERVER_MODELS_CHILD_PROCESS_H_
#define LOGITD_SERVER_MODELS_CHILD_PROCESS_H_

#include <signal.h>
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
struct ChildExit {
  std::string name;
  RunnerEnd end;
  // The last line that the child wrote, or "".
  std::string last_line;
  // Time until the child is started again.
  std::chrono::milliseconds restart_in{0};
};

// Reports on a child. Both functions are called on the child's supervising thread, and never under a lock.
struct ChildEvents {
  // The child has ended. Called after all of its lines.
  std::function<void(const ChildExit&)> on_exit = [](const ChildExit&) {};
  // The child has written a line to its standard output or error, bounded in length. If a child ends before it has
  // served, its last line is the reason: on_exit reports that line, and on_line does not.
  std::function<void(const std::string& name, const std::string& line)> on_line = [](const std::string&,
                                                                                     const std::string&) {};
};

// Thread-safe.
class ChildProcess {
 public:
  // How long a child may take to end after SIGTERM, or after it has lost its attachment.
  static constexpr std::chrono::milliseconds kEndTime{5000};
  // How long AwaitEnd waits for the end of a child whose stream has ended. A process that dies closes its files a
  // moment before it can be waited for, and a process that leaves in order frees its memory in between.
  static constexpr std::chrono::milliseconds kCauseTime{1000};
  // How long a line of a child that has not served is held back, in case the child ends with it.
  static constexpr std::chrono::milliseconds kLineTime{250};

  // Starts `command`, which is the program's path and its arguments. `name`: for the events. `end_time`: how long the
  // child may take to end after SIGTERM. `death_signal`: what the child gets when this process dies.
  ChildProcess(std::string name, std::vector<std::string> command, ChildEvents events,
               std::chrono::milliseconds end_time = kEndTime, int death_signal = SIGTERM);
  // Stops the child and waits for its end.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Asks the child to end with SIGTERM, and later kills it with SIGKILL. It is not started again.
  void RequestStop();
  // The child serves: a runner has attached. If it exits from now on, it is restarted without a growing delay.
  void OnAttached();
  // The command of later starts.
  void SetCommand(std::vector<std::string> command);
  // The child's attachment has ended. The child is killed if it does not end soon.
  void OnDetached();
  // To be called after OnDetached. Returns how the child of that attachment ended. Unset: not known yet; `then` is
  // called with the answer within kCauseTime, and with kUnknown if the child still runs then.
  std::optional<RunnerEnd> AwaitEnd(std::function<void(const RunnerEnd&)> then);

  // How often the child has ended.
  int exit_count() const;
  // How the child last ended, for people ("exit status 1"), and the last line that it wrote before, or "".
  std::string last_exit() const;
  std::string last_line() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiter {
    Clock::time_point until;
    std::function<void(const RunnerEnd&)> then;
  };

  void Supervise();
  // Starts the child. False: it could not be started.
  bool Spawn();
  // Waits for the child's end, and kills the child when that is due.
  void Reap();
  bool HasServed() const;
  // Passes on the line that is held back, if there is one.
  void TellLine();
  // Reads up to `most` bytes of the child's output.
  void ReadOutput(size_t most);
  // Calls the waiters: all of them if the end is known, else those whose time is over.
  void TellWaiters(const RunnerEnd* end);
  // Reaps processes that ended children have left behind, if they have become this process's children.
  void ReapOrphans();
  // Waits until a member changes, the child ends or writes, or `until`. REQUIRES: mutex_ is not held.
  void Wait(int child_fd, std::optional<Clock::time_point> until);
  void Wake();

  const std::string name_;
  const ChildEvents events_;
  const std::chrono::milliseconds end_time_;
  const int death_signal_;
  // An eventfd. Written to when one of the members under mutex_ changes.
  const int wake_fd_;

  // The supervising thread's own: the descriptor of the child's output, or -1; the last line; and when that line is
  // passed on (unset: it has been).
  int output_fd_ = -1;
  std::string line_;
  std::optional<Clock::time_point> tell_line_at_;
  LineSplitter lines_;
  // Process groups of ended children that may still hold processes.
  std::vector<pid_t> orphaned_groups_;

  mutable std::mutex mutex_;
  std::vector<std::string> command_;
  bool stopping_ = false;
  // 0: not running.
  pid_t pid_ = 0;
  bool has_served_ = false;
  // A child that had served has ended, and AwaitEnd has not asked for its end yet.
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

#endif  // LOGITD_SERVER_MODELS_CHILD_PROCESS_H_
