#include "server/models/child_runner.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace logitd::server {
namespace {

constexpr std::chrono::milliseconds kFirstDelay{500};
constexpr std::chrono::milliseconds kLongestDelay{30'000};
// A child that ran for so long was well: the next delay is short again.
constexpr std::chrono::seconds kHealthyTime{60};
constexpr std::chrono::seconds kStopTime{5};

std::string DescribeExit(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return std::string("signal ") + strsignal(WTERMSIG(status));
  return "an unknown end";
}

}  // namespace

ChildRunner::ChildRunner(std::vector<std::string> command, std::function<void()> on_exit)
    : command_(std::move(command)), on_exit_(std::move(on_exit)), supervisor_([this] { Supervise(); }) {}

ChildRunner::~ChildRunner() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  if (pid_ != 0) ::kill(pid_, SIGTERM);
  if (!changed_.wait_for(lock, kStopTime, [this] { return pid_ == 0; })) ::kill(pid_, SIGKILL);
  lock.unlock();
  supervisor_.join();
}

int ChildRunner::exit_count() const {
  std::lock_guard lock(mutex_);
  return exit_count_;
}

std::string ChildRunner::last_exit() const {
  std::lock_guard lock(mutex_);
  return last_exit_;
}

// The child is started from this thread, which lives as long as the child may: PR_SET_PDEATHSIG is about the thread.
void ChildRunner::Supervise() {
  std::chrono::milliseconds delay = kFirstDelay;
  while (true) {
    const auto started = std::chrono::steady_clock::now();
    if (Spawn()) Reap();
    std::unique_lock lock(mutex_);
    pid_ = 0;
    ++exit_count_;
    changed_.notify_all();
    if (stopping_) return;
    lock.unlock();
    on_exit_();
    lock.lock();
    if (std::chrono::steady_clock::now() - started > kHealthyTime) delay = kFirstDelay;
    if (changed_.wait_for(lock, delay, [this] { return stopping_; })) return;
    delay = std::min(delay * 2, kLongestDelay);
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
  // First wait without reaping, so that pid_ never names a process that is not ours when a signal is sent to it.
  siginfo_t info;
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  std::lock_guard lock(mutex_);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  last_exit_ = DescribeExit(status);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) last_exit_ = "cannot start " + command_[0];
}

}  // namespace logitd::server
