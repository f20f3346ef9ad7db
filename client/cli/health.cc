// `logit health`: whether the server, or a model of it, serves. The container image's health check runs it.
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/session.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  if (arguments.positionals().size() > 1) {
    return UsageError("MODEL", absl::StrCat(arguments.positionals().size()), "one name, or none");
  }
  const std::string model = arguments.positionals().empty() ? "" : arguments.positionals().front();
  ASSIGN_OR_RETURN(const bool is_serving, session.client->IsServing(model));
  if (session.json) {
    session.out() << "{\"status\":\"" << (is_serving ? "SERVING" : "NOT_SERVING") << "\"}\n";
  } else {
    const std::string subject = model.empty() ? absl::StrCat("logitd at ", session.address) : EscapeText(model);
    session.out() << subject << (is_serving ? " is serving\n" : " is not serving\n");
  }
  return is_serving ? kExitOk : kExitItemFailed;
}

}  // namespace

Command HealthCommand() {
  return {.name = "health",
          .purpose = "whether the server, or a model of it, serves",
          .positionals = "[MODEL]",
          .summary =
              "Asks the server whether it serves (grpc.health.v1), or whether a model of it does. A busy server "
              "answers too. Exit code: 0 serving, 1 not serving.",
          .examples =
              "logit health --timeout 4\n"
              "# once the model's runner is attached\n"
              "logit health smollm2\n",
          .needs_model = false,
          .run = Run};
}

}  // namespace logitd::cli
