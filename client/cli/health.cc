// `logit health`: whether the server, or a model of it, serves. What the container image's health check runs.
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/session.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

Arguments MakeArguments() {
  return Arguments({.name = "health",
                    .positionals = "[MODEL]",
                    .summary = "Asks the server whether it serves (grpc.health.v1), or whether a model of it does. "
                               "However busy a server is, it answers. Exit code: 0 serving, 1 not serving.",
                    .examples = "logit health --timeout 4\n"
                                "# once the model's runner is attached\n"
                                "logit health smollm2\n"},
                   {SessionFlags()});
}

}  // namespace

int RunHealth(const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments = MakeArguments();
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  session->needs_model = false;
  if (arguments.positionals().size() > 1) {
    return session->Fail(UsageError("MODEL", absl::StrCat(arguments.positionals().size()), "one name, or none"));
  }
  const std::string model = arguments.positionals().empty() ? "" : arguments.positionals().front();
  const absl::StatusOr<bool> is_serving = session->client->IsServing(model);
  if (!is_serving.ok()) return session->Fail(is_serving.status());
  if (session->json) {
    session->out() << "{\"status\":\"" << (*is_serving ? "SERVING" : "NOT_SERVING") << "\"}\n";
  } else {
    const std::string subject = model.empty() ? absl::StrCat("logitd at ", session->address) : EscapeText(model);
    session->out() << subject << (*is_serving ? " is serving\n" : " is not serving\n");
  }
  return *is_serving ? kExitOk : kExitItemFailed;
}

}  // namespace logitd::cli
