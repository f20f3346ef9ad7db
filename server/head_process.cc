#include "server/head_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/shown_text.h"
#include "server/models/child_setup.h"
#include "server/models/runner_end.h"

namespace logitd::server {
namespace {

// The shown part of its last line.
constexpr size_t kMaxLineBytes = 400;

}  // namespace

HeadProcess::HeadProcess(std::string program, pid_t pid, int output, int errors)
    : program_(std::move(program)), pid_(pid), output_(output), errors_(errors) {}

HeadProcess::HeadProcess(HeadProcess&& other) noexcept
    : program_(std::move(other.program_)),
      pid_(std::exchange(other.pid_, 0)),
      output_(std::exchange(other.output_, -1)),
      errors_(std::exchange(other.errors_, -1)) {}

HeadProcess::~HeadProcess() {
  Kill().IgnoreError();
  if (output_ >= 0) ::close(output_);
  if (errors_ >= 0) ::close(errors_);
}

absl::StatusOr<HeadProcess> HeadProcess::Start(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  int output[2] = {-1, -1};
  const int errors = ::memfd_create("logitd-head", MFD_CLOEXEC);
  if (errors < 0 || ::pipe2(output, O_CLOEXEC) != 0) {
    const std::string why = std::strerror(errno);
    if (errors >= 0) ::close(errors);
    return absl::UnavailableError("cannot start " + command.front() + ": " + why);
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    SetUpChild(parent, SIGKILL);
    ::dup2(output[1], STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  const std::string why = std::strerror(errno);
  ::close(output[1]);
  if (pid < 0) {
    ::close(output[0]);
    ::close(errors);
    return absl::UnavailableError("cannot start " + command.front() + ": " + why);
  }
  return HeadProcess(command.front(), pid, output[0], errors);
}

int HeadProcess::Output() const { return ::fcntl(output_, F_DUPFD_CLOEXEC, 0); }

std::string HeadProcess::LastLine() const {
  const off_t size = ::lseek(errors_, 0, SEEK_END);
  const off_t begin = std::max<off_t>(0, size - static_cast<off_t>(kMaxLineBytes));
  std::string text(static_cast<size_t>(std::max<off_t>(0, size - begin)), '\0');
  const ssize_t read = ::pread(errors_, text.data(), text.size(), begin);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, read)));
  while (text.ends_with('\n')) text.pop_back();
  const size_t line = text.rfind('\n');
  return OnOneLine(line == std::string::npos ? text : text.substr(line + 1), kMaxLineBytes);
}

absl::Status HeadProcess::Reap(bool was_killed) {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  if (was_killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return absl::OkStatus();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return absl::UnavailableError("cannot start " + program_);
  const std::string line = LastLine();
  return absl::UnavailableError("logitd-llama ended with " + EndOf(status).cause + (line.empty() ? "" : ": " + line));
}

absl::Status HeadProcess::Finish() { return pid_ == 0 ? absl::OkStatus() : Reap(/*was_killed=*/false); }

absl::Status HeadProcess::Kill() {
  if (pid_ == 0) return absl::OkStatus();
  // A child that has closed its output is about to end by itself, and says why.
  constexpr int kEndMs = 500;
  for (int waited_ms = 0; waited_ms < kEndMs; waited_ms += 10) {
    siginfo_t ended = {};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0) {
      return Reap(/*was_killed=*/false);
    }
    ::poll(nullptr, 0, 10);
  }
  ::kill(pid_, SIGKILL);
  return Reap(/*was_killed=*/true);
}

}  // namespace logitd::server
