// The outside world of a `logit` command: streams, terminals, variables, time, and how to reach a server. main.cc fills
// it in; tests put strings and mocks in its place.
#ifndef LOGITD_CLIENT_CLI_ENVIRONMENT_H_
#define LOGITD_CLIENT_CLI_ENVIRONMENT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "client/logitd/client.h"

namespace logitd::cli {

// The exit codes, which shell scripts see. docs/cli.md documents them.
enum ExitCode : int {
  kExitOk = 0,
  // The call succeeded, but an item, candidate or completion of it failed. Of `health`: the server or the model does
  // not serve.
  kExitItemFailed = 1,
  // The command line is wrong; nothing was sent.
  kExitUsage = 2,
  // The server refused the call, or failed in it.
  kExitRefused = 3,
  // There is no server, or the connection was lost.
  kExitUnreachable = 4,
  // The call succeeded, but its result could not be written to standard output, or to the file of --out.
  kExitNotWritten = 5,
  // Ctrl-C (128 + SIGINT), for a command that shows its result so far.
  kExitInterrupted = 130,
};

struct Environment {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  // Columns of the terminal.
  int width = 80;
  // Columns of the terminal on standard error now.
  std::function<int()> err_width = [] { return 80; };
  // Size of standard input if it is a file, for the progress line. Unset: unknown.
  std::optional<int64_t> in_bytes;
  // The value of an environment variable; "" if it is unset.
  std::function<std::string(const std::string& name)> variable;
  std::function<absl::StatusOr<std::unique_ptr<client::Client>>(client::Options)> connect;
  std::function<std::chrono::steady_clock::time_point()> now;
  std::function<void(std::chrono::milliseconds)> sleep;
  // Makes Ctrl-C request this stop instead of ending the process. A second Ctrl-C ends the process.
  std::function<std::stop_token()> take_interrupts;
};

// Columns of a help page: those of the terminal, elsewhere 80.
inline int HelpWidth(const Environment& environment) {
  constexpr int kElsewhere = 80;
  return environment.out_is_terminal ? environment.width : kElsewhere;
}

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ENVIRONMENT_H_
