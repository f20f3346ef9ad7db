// What every subcommand needs once its command line is read: a client, and how to print. Made of the flags that all
// subcommands have: --server, --timeout, --json, --color, --help.
#ifndef LOGITD_CLIENT_CLI_SESSION_H_
#define LOGITD_CLIENT_CLI_SESSION_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "client/cli/terminal.h"
#include "client/logitd/client.h"

namespace logitd::cli {

struct Session {
  Environment& environment;
  std::unique_ptr<client::Client> client;
  std::string address;
  // The subcommand cannot do without a model; what to do about a server that is not there depends on it.
  bool needs_model = true;
  bool json = false;
  // Colours on standard output.
  bool colour = false;

  std::ostream& out() const { return environment.out; }
  // Of standard output. What is no terminal gets tables of any width: a file, `less -S`, `grep`.
  Style style() const { return {colour, environment.out_is_terminal ? environment.width : 0}; }

  // The failure as Fail says it: where the server gave no error, one made of the status. REQUIRES: !status.ok().
  v1::Error ErrorOf(const absl::Status& status) const;

  // Says on standard error why the command failed, as text or with --json as {"error": logitd.v1.Error}, and returns
  // the exit code that goes with it. REQUIRES: !status.ok().
  int Fail(const absl::Status& status) const;
};

// Fail() for when there is no session yet.
int ReportFailure(const absl::Status& status, const std::string& address, bool json, Environment& environment,
                  bool needs_model = true);

// Whether `args` has this flag before any "--".
bool AsksFor(const std::vector<std::string>& args, std::string_view flag);

// Parses `args` into `arguments`. Sets `exit_code` if the command ends here: help was asked for, or the command line is
// wrong. Returns null then.
std::unique_ptr<Session> OpenSession(Arguments& arguments, const std::vector<std::string>& args,
                                     Environment& environment, int& exit_code);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_SESSION_H_
