// Texts that a command reads from a file or from standard input.
#ifndef LOGITD_CLIENT_CLI_TEXT_INPUT_H_
#define LOGITD_CLIENT_CLI_TEXT_INPUT_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/environment.h"

namespace logitd::cli {

// All of standard input, or of the file `path`, as it is: a newline at its end counts. A byte order mark in front is
// left out. `field` names it in errors. Errors: usage errors (it cannot be read, or is not UTF-8).
absl::StatusOr<std::string> TextOfInput(const std::string& field, Environment& environment);
absl::StatusOr<std::string> TextOfFile(const std::string& field, const std::string& path);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TEXT_INPUT_H_
