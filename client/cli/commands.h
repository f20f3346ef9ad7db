// The subcommands of `logit`, one file each, and the dispatch to them.
#ifndef LOGITD_CLIENT_CLI_COMMANDS_H_
#define LOGITD_CLIENT_CLI_COMMANDS_H_

#include <string>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/command.h"
#include "client/cli/environment.h"

namespace logitd::cli {

Command CompleteCommand();
Command CompareCommand();
Command ScoreCommand();
Command RankCommand();
Command DecideCommand();
Command StrengthsCommand();
Command EvalCommand();
Command PerplexityCommand();
Command DistributionCommand();
Command DecodeCommand();
Command VerifyCommand();
Command InfoCommand();
Command TokenizeCommand();
Command VocabularyCommand();
Command HealthCommand();
Command CalibrateCommand();

// All of them, with the flags that every command has.
std::vector<Command> AllCommands();

// The whole program: `args` is the command line without the program's name. Returns the exit code (ExitCode).
int RunLogit(const std::vector<std::string>& args, Environment& environment);

// Reports on standard error that standard output could not be written, for the reason `error` (an errno); nothing if
// its reader has gone away. Returns the exit code: `exit_code`, which is the command's own, if the command failed.
int ReportUnwrittenOutput(int error, int exit_code, const std::vector<std::string>& args, Environment& environment);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMMANDS_H_
