#include "client/cli/commands.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "client/cli/filled_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/session.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>& args, Environment& environment);
};

constexpr Command kCommands[] = {
    {"complete", "complete a prompt, with each token's log-prob", RunComplete},
    {"score", "log-probs of given continuations, or of tokens under your own logits", RunScore},
    {"rank", "order candidates under every normalisation", RunRank},
    {"distribution", "the distribution that logits give, without a model", RunDistribution},
    {"decode", "chooses tokens from your own logits, without a model", RunDecode},
    {"verify", "whether a token is the one that a seed draws, without a model", RunVerify},
    {"info", "the server: versions, limits, models", RunInfo},
    {"vocabulary", "every token of a model: its bytes, its name, what it is", RunVocabulary},
    {"health", "whether the server, or a model of it, serves", RunHealth},
};

std::string HelpText(int width) {
  constexpr int kSummaryColumn = 16;
  std::string out = absl::StrCat(
      Filled("logit talks to a logitd server: completions, scores, rankings and distributions, with their log-probs.",
             width),
      "\n\nUsage: logit COMMAND [FLAGS] [TEXT...]\n\nCommands:\n");
  for (const Command& command : kCommands) {
    const std::string name = command.name;
    absl::StrAppend(&out, "  ", name, std::string(kSummaryColumn - 2 - name.size(), ' '),
                    Filled(command.summary, width, kSummaryColumn, kSummaryColumn), "\n");
  }
  absl::StrAppend(&out, "\n",
                  Filled("`logit COMMAND --help` has the flags and examples. `logit --version` prints the version. The "
                         "server is --server ADDRESS, else LOGITD_SERVER, else 127.0.0.1:50051.",
                         width),
                  "\n\nExamples:\n"
                  "  logit distribution --logits 6,3,0.5,0.5 --labels mat,rug,floor,chair\n"
                  "  logit complete \"The capital of France is\" --temperature 0 --max-tokens 16\n"
                  "  logit rank \"The cat sat on the\" \" mat\" \" rug\" \" floor\"\n");
  return out;
}

// "complete, score, ...".
std::string KnownCommands() {
  std::string known;
  for (const Command& command : kCommands) absl::StrAppend(&known, known.empty() ? "" : ", ", command.name);
  return known;
}

bool AsksForJson(const std::vector<std::string>& args) {
  const auto end = std::find(args.begin(), args.end(), "--");
  return std::find(args.begin(), end, "--json") != end;
}

// Flags that may stand before the subcommand's name, with the number of arguments each takes.
int ArgumentCount(const std::string& argument) {
  if (argument == "--server" || argument == "--timeout" || argument == "--color") return 2;
  if (argument == "--json") return 1;
  for (const char* prefix : {"--server=", "--timeout=", "--color="}) {
    if (argument.rfind(prefix, 0) == 0) return 1;
  }
  return 0;
}

}  // namespace

int RunLogit(const std::vector<std::string>& args, Environment& environment) {
  size_t at = 0;
  while (at < args.size() && ArgumentCount(args[at]) > 0) at += ArgumentCount(args[at]);
  const bool json = AsksForJson(args);
  if (at >= args.size()) {
    if (json)
      return ReportFailure(UsageError("COMMAND", absl::StrCat("COMMAND is missing; commands: ", KnownCommands())), "",
                           json, environment);
    environment.err << HelpText(HelpWidth(environment));
    return kExitUsage;
  }
  const std::string& name = args[at];
  if (name == "--help" || name == "-h" || name == "help") {
    environment.out << HelpText(HelpWidth(environment));
    return kExitOk;
  }
  if (name == "--version") {
    environment.out << "logit " LOGITD_VERSION "\n";
    return kExitOk;
  }
  for (const Command& command : kCommands) {
    if (name == command.name) {
      std::vector<std::string> rest(args.begin(), args.begin() + static_cast<std::ptrdiff_t>(at));
      rest.insert(rest.end(), args.begin() + static_cast<std::ptrdiff_t>(at) + 1, args.end());
      return command.run(rest, environment);
    }
  }
  const bool is_flag = name.rfind('-', 0) == 0;
  return ReportFailure(UsageError("COMMAND", name, KnownCommands(),
                                  absl::StrCat("unknown ", is_flag ? "flag " : "command ", EscapeText(name),
                                               "; commands: ", KnownCommands())),
                       "", json, environment);
}

int ReportUnwrittenOutput(int error, int exit_code, const std::vector<std::string>& args, Environment& environment) {
  // `| head` has seen enough.
  if (error != EPIPE) {
    const std::string message = absl::StrCat("cannot write standard output: ", std::strerror(error));
    if (AsksForJson(args)) {
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
