// The subcommands of `logit`, one file each, and the dispatch to them.
#ifndef LOGITD_CLIENT_CLI_COMMANDS_H_
#define LOGITD_CLIENT_CLI_COMMANDS_H_

#include <string>
#include <vector>

#include "client/cli/environment.h"

namespace logitd::cli {

// Each reads the arguments after its name and returns the exit code (ExitCode).
int RunComplete(const std::vector<std::string>& args, Environment& environment);
int RunScore(const std::vector<std::string>& args, Environment& environment);
int RunRank(const std::vector<std::string>& args, Environment& environment);
int RunDecode(const std::vector<std::string>& args, Environment& environment);
int RunDistribution(const std::vector<std::string>& args, Environment& environment);
int RunVerify(const std::vector<std::string>& args, Environment& environment);
int RunInfo(const std::vector<std::string>& args, Environment& environment);
int RunVocabulary(const std::vector<std::string>& args, Environment& environment);
int RunHealth(const std::vector<std::string>& args, Environment& environment);

// The whole program: `args` is the command line without the program's name.
int RunLogit(const std::vector<std::string>& args, Environment& environment);

// Standard output could not be written, for the reason `error` (an errno): says so on standard error, unless its reader
// has only gone away, and returns the exit code. `exit_code`: of the command itself; a failure of its own stays.
int ReportUnwrittenOutput(int error, int exit_code, const std::vector<std::string>& args, Environment& environment);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMMANDS_H_
