#include "server/models/child_runner.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace logitd::server {
namespace {

// Before a child that had served is started again: long enough not to spin.
constexpr std::chrono::milliseconds kFirstDelay{100};
constexpr std::chrono::milliseconds kLongestDelay{30'000};
constexpr std::chrono::milliseconds kAskAgain{100};

std::string DescribeExit(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return std::string("signal ") + strsignal(WTERMSIG(status));
  return "an unknown end";
}

}  // namespace

ChildRunner::ChildRunner(std::vector<std::string> command,
                         std::function<void(std::chrono::milliseconds restart_in)> on_exit,
                         std::chrono::milliseconds end_time)
    : command_(std::move(command)),
      on_exit_(std::move(on_exit)),
      end_time_(end_time),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      supervisor_([this] { Supervise(); }) {}

ChildRunner::~ChildRunner() {
  RequestStop();
  supervisor_.join();
  ::close(wake_fd_);
}

void ChildRunner::RequestStop() {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(stopping_, true)) return;
    kill_at_ = std::chrono::steady_clock::now() + end_time_;
    if (pid_ != 0) ::kill(pid_, SIGTERM);
  }
  Wake();
}

void ChildRunner::OnAttached() {
  std::lock_guard lock(mutex_);
  has_served_ = true;
  if (!stopping_) kill_at_.reset();
}

void ChildRunner::OnDetached() {
  {
    std::lock_guard lock(mutex_);
    // A child that has not served is not the one whose attachment it was.
    if (pid_ == 0 || kill_at_ || !has_served_) return;
    kill_at_ = std::chrono::steady_clock::now() + end_time_;
  }
  Wake();
}

int ChildRunner::exit_count() const {
  std::lock_guard lock(mutex_);
  return exit_count_;
}

std::string ChildRunner::last_exit() const {
  std::lock_guard lock(mutex_);
  return last_exit_;
}

void ChildRunner::Wake() {
  const uint64_t one = 1;
  // It can only fail if it is already set a great many times.
  (void)!::write(wake_fd_, &one, sizeof(one));
}

void ChildRunner::Wait(int child_fd, std::optional<std::chrono::steady_clock::time_point> until) {
  pollfd fds[] = {{wake_fd_, POLLIN, 0}, {child_fd, POLLIN, 0}};
  int timeout_ms = -1;
  if (until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - std::chrono::steady_clock::now());
    timeout_ms = static_cast<int>(std::max<int64_t>(0, left.count()));
  }
  ::poll(fds, child_fd < 0 ? 1 : 2, timeout_ms);
  uint64_t count;
  (void)!::read(wake_fd_, &count, sizeof(count));
}

// The child is started from this thread, which lives as long as the child may: PR_SET_PDEATHSIG is about the thread.
void ChildRunner::Supervise() {
  std::chrono::milliseconds delay = kFirstDelay;
  while (true) {
    if (Spawn()) Reap();
    {
      std::lock_guard lock(mutex_);
      if (!stopping_) kill_at_.reset();
      ++exit_count_;
      if (stopping_) return;
      if (std::exchange(has_served_, false)) delay = kFirstDelay;
    }
    on_exit_(delay);
    const auto restart_at = std::chrono::steady_clock::now() + delay;
    while (std::chrono::steady_clock::now() < restart_at) {
      {
        std::lock_guard lock(mutex_);
        if (stopping_) return;
      }
      Wait(-1, restart_at);
    }
    delay = std::min(delay * 4, kLongestDelay);
  }
}

bool ChildRunner::Spawn() {
  std::vector<char*> arguments;
  for (const std::string& argument : command_) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    // Only what is safe after a fork of a process with threads. Signals were blocked for main's sigwait.
    //
    // A group of its own: what a terminal or GNU timeout sends to the server's group does not reach the runner, which
    // has to outlive the drain. SIGHUP may have come already, and must not end what the server itself ignores.
    ::setpgid(0, 0);
    ::signal(SIGHUP, SIG_IGN);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    // Standard output is the server's own.
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  if (pid < 0) {
    last_exit_ = std::string("cannot start ") + command_[0] + ": " + std::strerror(errno);
    return false;
  }
  pid_ = pid;
  return true;
}

void ChildRunner::Reap() {
  pid_t pid;
  {
    std::lock_guard lock(mutex_);
    pid = pid_;
  }
  // Readable when the child has ended. It is reaped under the lock, so that pid_ never names a process that is not ours
  // when a signal is sent to it.
  const int child_fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  while (true) {
    std::optional<std::chrono::steady_clock::time_point> until;
    {
      std::lock_guard lock(mutex_);
      int status = 0;
      const pid_t ended = ::waitpid(pid, &status, WNOHANG);
      if (ended == pid) {
        pid_ = 0;
        last_exit_ = DescribeExit(status);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127) last_exit_ = "cannot start " + command_[0];
        break;
      }
      if (kill_at_ && std::chrono::steady_clock::now() >= *kill_at_) {
        ::kill(pid, SIGKILL);
      } else {
        until = kill_at_;
      }
    }
    // Without a pidfd (no descriptor is left, or the kernel has none) nothing tells of the end: it is asked for again.
    if (child_fd < 0) until = std::chrono::steady_clock::now() + kAskAgain;
    Wait(child_fd, until);
  }
  if (child_fd >= 0) ::close(child_fd);
}

}  // namespace logitd::server
