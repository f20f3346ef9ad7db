// Shell completion: commands, flags, and the values of flags that take one of a few.
#ifndef LOGITD_CLIENT_CLI_COMPLETION_H_
#define LOGITD_CLIENT_CLI_COMPLETION_H_

#include <string>
#include <vector>

#include "client/cli/command.h"

namespace logitd::cli {

// A script for bash, made from the tables of flags:
//
//   source <(logit completion bash)
std::string BashCompletion(const std::vector<Command>& commands);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPLETION_H_
