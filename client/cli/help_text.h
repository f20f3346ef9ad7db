// The help pages, and the list of all flags for the documentation.
#ifndef LOGITD_CLIENT_CLI_HELP_TEXT_H_
#define LOGITD_CLIENT_CLI_HELP_TEXT_H_

#include <string>
#include <vector>

#include "client/cli/command.h"

namespace logitd::cli {

// The help of the program. The text is in lines of at most `width` columns (0: of any length), the examples in lines of
// at most 80.
std::string HelpText(const std::vector<Command>& commands, int width);

// The help of one command.
std::string HelpText(const Command& command, int width);

// docs/cli-flags.md: a table of every flag, with its field and the commands that have it.
std::string FlagsMarkdown(const std::vector<Command>& commands);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_HELP_TEXT_H_
