// Flags of the windows in which a text of any length is scored.
#ifndef LOGITD_CLIENT_CLI_ROLLING_FLAGS_H_
#define LOGITD_CLIENT_CLI_ROLLING_FLAGS_H_

#include <vector>

#include "absl/status/status.h"
#include "client/cli/arguments.h"
#include "client/cli/command.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// --window, --stride, --rule.
std::vector<Flag> RollingFlags();

// Fills what the flags say; the text itself is the caller's. Errors: a value that is no number.
absl::Status SetWindows(const Arguments& arguments, v1::RollingText& rolling);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ROLLING_FLAGS_H_
