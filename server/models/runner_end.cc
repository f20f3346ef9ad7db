#include "server/models/runner_end.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

namespace logitd::server {
namespace {

// Signals that a process gets because of its own actions. (kill(1) can send them too; the two cannot be told apart.)
bool IsOwn(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGABRT;
}

}  // namespace

RunnerEnd EndOf(int wait_status) {
  if (WIFEXITED(wait_status)) {
    const int status = WEXITSTATUS(wait_status);
    return {status == 0 ? RunnerEnd::Kind::kLeft : RunnerEnd::Kind::kOther, "",
            "exit status " + std::to_string(status)};
  }
  if (!WIFSIGNALED(wait_status)) return {RunnerEnd::Kind::kOther, "", "an unknown end"};
  const int signal = WTERMSIG(wait_status);
  const char* abbreviation = ::sigabbrev_np(signal);
  // Real-time signals have no name.
  const std::string name = abbreviation == nullptr ? std::to_string(signal) : std::string("SIG") + abbreviation;
  const std::string cause = "signal " + name + " (" + ::strsignal(signal) + ")";
  return IsOwn(signal) ? RunnerEnd{RunnerEnd::Kind::kOwnSignal, name, cause}
                       : RunnerEnd{RunnerEnd::Kind::kOther, "", cause};
}

}  // namespace logitd::server
