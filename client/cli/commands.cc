#include "client/cli/commands.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/suggestion.h"
#include "client/cli/completion.h"
#include "client/cli/flags.h"
#include "client/cli/help_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/session.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

// The number of arguments that a flag in front of the subcommand's name takes; 0: it is no such flag.
size_t ArgumentCount(const std::string& argument) {
  for (const Flag& flag : SessionFlags().flags) {
    if (flag.name == "--help") continue;
    if (argument == flag.name) return flag.value.empty() ? 1 : 2;
    if (!flag.value.empty() && argument.rfind(flag.name + "=", 0) == 0) return 1;
  }
  return 0;
}

int Run(const Command& command, const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments(command);
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  const absl::StatusOr<int> done = command.run(arguments, *session);
  return done.ok() ? *done : session->Fail(done.status());
}

}  // namespace

std::vector<Command> AllCommands() {
  std::vector<Command> commands = {CompleteCommand(),   ScoreCommand(),        CompareCommand(),    RankCommand(),
                                   DecideCommand(),     StrengthsCommand(),    CalibrateCommand(),  EvalCommand(),
                                   PerplexityCommand(), DistributionCommand(), DecodeCommand(),     VerifyCommand(),
                                   TokenizeCommand(),   InfoCommand(),         VocabularyCommand(), HealthCommand()};
  for (Command& command : commands) command.groups.push_back(SessionFlags());
  return commands;
}

int RunLogit(const std::vector<std::string>& args, Environment& environment) {
  const std::vector<Command> commands = AllCommands();
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.name);
  const std::string known = absl::StrCat("; commands: ", absl::StrJoin(names, ", "));
  const bool json = AsksFor(args, "--json");
  const auto fail = [&](const absl::Status& status) { return ReportFailure(status, "", json, environment); };

  size_t at = 0;
  while (at < args.size() && ArgumentCount(args[at]) > 0) at += ArgumentCount(args[at]);
  if (at >= args.size()) {
    if (json) return fail(UsageError("COMMAND", absl::StrCat("COMMAND is missing", known)));
    environment.err << HelpText(commands, HelpWidth(environment));
    return kExitUsage;
  }
  const std::string& name = args[at];
  std::vector<std::string> rest = args;
  rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(at));
  if (name == "--help" || name == "-h" || name == "help") {
    const bool markdown = AsksFor(rest, "--markdown");
    environment.out << (markdown ? FlagsMarkdown(commands) : HelpText(commands, HelpWidth(environment)));
    return kExitOk;
  }
  if (name == "--version") {
    environment.out << "logit " LOGITD_VERSION "\n";
    return kExitOk;
  }
  if (name == "completion") {
    if (rest != std::vector<std::string>{"bash"}) {
      return fail(UsageError("SHELL", "the shell must be bash: logit completion bash"));
    }
    environment.out << BashCompletion(commands);
    return kExitOk;
  }
  for (const Command& command : commands) {
    if (name == command.name) return Run(command, rest, environment);
  }
  const char* kind = name.rfind('-', 0) == 0 ? "flag " : "command ";
  return fail(UsageError("COMMAND", name, absl::StrJoin(names, ", "),
                         absl::StrCat("unknown ", kind, EscapeText(name), DidYouMean(name, names), known)));
}

int ReportUnwrittenOutput(int error, int exit_code, const std::vector<std::string>& args, Environment& environment) {
  // `| head` has seen enough.
  if (error != EPIPE) {
    const std::string message = absl::StrCat("cannot write standard output: ", std::strerror(error));
    if (AsksFor(args, "--json")) {
      v1::Error said;
      said.set_code(static_cast<int>(absl::ErrnoToStatusCode(error)));
      said.set_message(message);
      said.set_field("stdout");
      environment.err << "{\"error\":" << ToJson(said) << "}\n";
    } else {
      environment.err << "logit: " << message << "\n";
    }
  }
  return exit_code == kExitOk || exit_code == kExitItemFailed ? kExitNotWritten : exit_code;
}

}  // namespace logitd::cli
