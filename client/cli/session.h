// A subcommand's client and way of printing, made of the flags that all subcommands have: --server, --timeout, --json,
// --color, --help.
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
  // Whether the subcommand needs a model. If the server is not there, the error tells how to start one that fits.
  bool needs_model = true;
  bool json = false;
  // Colours on standard output.
  bool colour = false;

  std::ostream& out() const { return environment.out; }
  // The style of standard output. A file or a pipe (`less -S`, `grep`) gets tables of any width.
  Style style() const { return {colour, environment.out_is_terminal ? environment.width : 0}; }

  // The error that Fail prints. If the server gave none, it is made of the status. REQUIRES: !status.ok().
  v1::Error ErrorOf(const absl::Status& status) const;

  // Prints on standard error why the command failed, as text or with --json as {"error": logitd.v1.Error}. Returns the
  // exit code. REQUIRES: !status.ok().
  int Fail(const absl::Status& status) const;
};

// Fail() before there is a session.
int ReportFailure(const absl::Status& status, const std::string& address, bool json, Environment& environment,
                  bool needs_model = true);

// A client for the address that `flag` names, with the session's --timeout. Errors: usage errors. No I/O: the first
// call connects.
absl::StatusOr<std::unique_ptr<client::Client>> ConnectTo(const std::string& flag, const Arguments& arguments,
                                                          const Environment& environment);

// Whether `args` has this flag before any "--".
bool AsksFor(const std::vector<std::string>& args, std::string_view flag);

// Parses `args` into `arguments` and connects. Returns null if the command ends here, because `args` asks for help or
// is wrong; sets `exit_code` then.
std::unique_ptr<Session> OpenSession(Arguments& arguments, const std::vector<std::string>& args,
                                     Environment& environment, int& exit_code);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_SESSION_H_
