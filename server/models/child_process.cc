#include "server/models/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <utility>

#include "server/models/child_setup.h"

namespace logitd::server {
namespace {

// Delay before a child that had served is started again: long enough not to spin.
constexpr std::chrono::milliseconds kFirstDelay{100};
constexpr std::chrono::milliseconds kLongestDelay{30'000};
constexpr std::chrono::milliseconds kAskAgain{100};
// How often ended children's process groups are searched for orphans.
constexpr std::chrono::milliseconds kLookForOrphans{1000};

// Longer lines of a child are cut.
constexpr size_t kMaxLineBytes = 2000;
// Bytes read at a time, and from a child that has ended: more than a pipe holds.
constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kLastBytes = 1 << 20;

}  // namespace

ChildProcess::ChildProcess(std::string name, std::vector<std::string> command, ChildEvents events,
                           std::chrono::milliseconds end_time, int death_signal)
    : name_(std::move(name)),
      events_(std::move(events)),
      end_time_(end_time),
      death_signal_(death_signal),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      lines_(kMaxLineBytes,
             [this](std::string line) {
               TellLine();
               line_ = std::move(line);
               tell_line_at_ = Clock::now() + kLineTime;
               if (HasServed()) TellLine();
             }),
      command_(std::move(command)),
      supervisor_([this] { Supervise(); }) {}

ChildProcess::~ChildProcess() {
  RequestStop();
  supervisor_.join();
  ::close(wake_fd_);
}

void ChildProcess::RequestStop() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
    kill_at_ = std::chrono::steady_clock::now() + end_time_;
    if (pid_ != 0) ::kill(pid_, SIGTERM);
  }
  Wake();
}

void ChildProcess::OnAttached() {
  {
    std::lock_guard lock(mutex_);
    has_served_ = true;
    has_unclaimed_end_ = false;
    if (!stopping_) kill_at_.reset();
  }
  Wake();
}

void ChildProcess::SetCommand(std::vector<std::string> command) {
  std::lock_guard lock(mutex_);
  command_ = std::move(command);
}

void ChildProcess::OnDetached() {
  {
    std::lock_guard lock(mutex_);
    // A child that has not served is not the one that was attached.
    if (pid_ == 0 || kill_at_ || !has_served_) return;
    kill_at_ = std::chrono::steady_clock::now() + end_time_;
  }
  Wake();
}

std::optional<RunnerEnd> ChildProcess::AwaitEnd(std::function<void(const RunnerEnd&)> then) {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(has_unclaimed_end_, false)) return last_end_;
    if (!has_served_) return RunnerEnd();
    waiters_.push_back({Clock::now() + kCauseTime, std::move(then)});
  }
  Wake();
  return std::nullopt;
}

void ChildProcess::TellWaiters(const RunnerEnd* end) {
  std::vector<Waiter> told;
  {
    std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    for (size_t i = 0; i < waiters_.size();) {
      if (end == nullptr && now < waiters_[i].until) {
        ++i;
        continue;
      }
      told.push_back(std::move(waiters_[i]));
      waiters_.erase(waiters_.begin() + static_cast<ptrdiff_t>(i));
    }
  }
  for (const Waiter& waiter : told) waiter.then(end == nullptr ? RunnerEnd() : *end);
}

int ChildProcess::exit_count() const {
  std::lock_guard lock(mutex_);
  return exit_count_;
}

std::string ChildProcess::last_exit() const {
  std::lock_guard lock(mutex_);
  return last_end_.cause;
}

std::string ChildProcess::last_line() const {
  std::lock_guard lock(mutex_);
  return last_line_;
}

void ChildProcess::Wake() {
  const uint64_t one = 1;
  // This can fail only if the counter is already huge.
  (void)!::write(wake_fd_, &one, sizeof(one));
}

void ChildProcess::Wait(int child_fd, std::optional<Clock::time_point> until) {
  // poll ignores negative descriptors.
  pollfd fds[] = {{wake_fd_, POLLIN, 0}, {child_fd, POLLIN, 0}, {output_fd_, POLLIN, 0}};
  int timeout_ms = -1;
  if (tell_line_at_) until = std::min(until.value_or(*tell_line_at_), *tell_line_at_);
  if (until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now());
    timeout_ms = static_cast<int>(std::max<int64_t>(0, left.count()));
  }
  ::poll(fds, std::size(fds), timeout_ms);
  uint64_t count;
  (void)!::read(wake_fd_, &count, sizeof(count));
  if (fds[2].revents != 0) ReadOutput(kReadBytes);
  // A child that ends has written its last line before. on_exit reports that line.
  const bool has_ended = child_fd >= 0 && fds[1].revents != 0;
  if (!has_ended && tell_line_at_ && (Clock::now() >= *tell_line_at_ || HasServed())) TellLine();
}

bool ChildProcess::HasServed() const {
  std::lock_guard lock(mutex_);
  return has_served_;
}

void ChildProcess::TellLine() {
  if (std::exchange(tell_line_at_, std::nullopt)) events_.on_line(name_, line_);
}

void ChildProcess::ReadOutput(size_t most) {
  char bytes[kReadBytes];
  while (output_fd_ >= 0 && most > 0) {
    const ssize_t size = ::read(output_fd_, bytes, std::min(most, sizeof(bytes)));
    if (size > 0) {
      lines_.Append({bytes, static_cast<size_t>(size)});
      most -= static_cast<size_t>(size);
      continue;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    // End of file: the child has closed its output.
    ::close(std::exchange(output_fd_, -1));
  }
}

// This thread starts the child and lives as long as the child may, because PR_SET_PDEATHSIG refers to the thread.
void ChildProcess::Supervise() {
  std::chrono::milliseconds delay = kFirstDelay;
  while (true) {
    if (Spawn()) Reap();
    // Everything that the child has written. Its own children may still hold the other end; from now on they have no
    // reader.
    ReadOutput(kLastBytes);
    if (output_fd_ >= 0) ::close(std::exchange(output_fd_, -1));
    lines_.Finish();
    ReapOrphans();
    bool is_stopping;
    {
      std::lock_guard lock(mutex_);
      is_stopping = stopping_;
    }
    // A child that was asked to end is not reported by on_exit.
    if (is_stopping) TellLine();
    RunnerEnd end;
    std::string line;
    {
      std::lock_guard lock(mutex_);
      if (!is_stopping) kill_at_.reset();
      ++exit_count_;
      tell_line_at_.reset();
      last_line_ = std::exchange(line_, {});
      line = last_line_;
      end = last_end_;
      if (std::exchange(has_served_, false)) {
        delay = kFirstDelay;
        has_unclaimed_end_ = waiters_.empty();
      }
    }
    TellWaiters(&end);
    if (is_stopping) return;
    events_.on_exit({name_, end, line, delay});
    const auto restart_at = Clock::now() + delay;
    while (Clock::now() < restart_at) {
      {
        std::lock_guard lock(mutex_);
        if (stopping_) return;
      }
      Wait(-1, restart_at);
    }
    ReapOrphans();
    delay = std::min(delay * 4, kLongestDelay);
  }
}

// Where logitd is process 1, as in a container, a dead runner's own children (its tokenizer) become logitd's children,
// and would stay zombies for ever. They are in the runner's process group, whose number is not reused while one of them
// exists. Elsewhere they are not this process's children, and the group is forgotten at once.
void ChildProcess::ReapOrphans() {
  std::erase_if(orphaned_groups_, [](pid_t group) {
    pid_t ended;
    while ((ended = ::waitpid(-group, nullptr, WNOHANG)) > 0 || (ended < 0 && errno == EINTR)) {
    }
    return ended < 0;
  });
}

bool ChildProcess::Spawn() {
  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  std::vector<char*> arguments;
  for (const std::string& argument : command_) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // Both ends close on exec, so that no other child inherits this one's.
  int output[2] = {-1, -1};
  // If no descriptors are left, the child writes to this process's standard error.
  (void)!::pipe2(output, O_CLOEXEC);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    // When this process is gone, the child ends because of its death signal, and not because it writes to a pipe
    // without a reader. Without the group of its own it would not outlive the drain, as it has to.
    ::signal(SIGPIPE, SIG_IGN);
    SetUpChild(parent, death_signal_);
    if (output[1] >= 0) ::dup2(output[1], STDERR_FILENO);
    // Standard output belongs to the server.
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  const int error = errno;
  if (output[1] >= 0) ::close(output[1]);
  if (pid < 0) {
    if (output[0] >= 0) ::close(output[0]);
    last_end_ = {RunnerEnd::Kind::kOther, "", std::string("cannot start ") + command_[0] + ": " + std::strerror(error)};
    return false;
  }
  output_fd_ = output[0];
  if (output_fd_ >= 0) ::fcntl(output_fd_, F_SETFL, O_NONBLOCK);
  pid_ = pid;
  return true;
}

void ChildProcess::Reap() {
  pid_t pid;
  {
    std::lock_guard lock(mutex_);
    pid = pid_;
  }
  // Becomes readable when the child ends. The child is reaped under the lock, so that pid_ never names a foreign
  // process when a signal is sent to it.
  const int child_fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  bool was_killed = false;
  while (true) {
    std::optional<Clock::time_point> until;
    {
      std::lock_guard lock(mutex_);
      int status = 0;
      const pid_t ended = ::waitpid(pid, &status, WNOHANG);
      if (ended == pid) {
        pid_ = 0;
        orphaned_groups_.push_back(pid);
        last_end_ = EndOf(status);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127) last_end_.cause = "cannot start " + command_[0];
        if (was_killed) last_end_.cause += ": it had not ended by itself, and was killed";
        break;
      }
      if (kill_at_ && Clock::now() >= *kill_at_) {
        ::kill(pid, SIGKILL);
        was_killed = true;
      } else {
        until = kill_at_;
      }
      for (const Waiter& waiter : waiters_) until = std::min(until.value_or(waiter.until), waiter.until);
    }
    if (!orphaned_groups_.empty()) {
      ReapOrphans();
      const auto look_at = Clock::now() + kLookForOrphans;
      until = std::min(until.value_or(look_at), look_at);
    }
    // Without a pidfd (no descriptor left, or an old kernel) nothing reports the end, so it is polled for.
    if (child_fd < 0) until = Clock::now() + kAskAgain;
    Wait(child_fd, until);
    TellWaiters(nullptr);
  }
  if (child_fd >= 0) ::close(child_fd);
}

}  // namespace logitd::server
