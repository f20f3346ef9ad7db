// The flags that say at which step of a sequence a row stands: what `distribution` and `verify` have in common.
#ifndef LOGITD_CLIENT_CLI_STEP_FLAGS_H_
#define LOGITD_CLIENT_CLI_STEP_FLAGS_H_

#include <vector>

#include "absl/status/status.h"
#include "client/cli/arguments.h"
#include "logitd/v1/decoding_service.pb.h"

namespace logitd::cli {

// --seed, --sequence-key, --position, --prompt-tokens, --output-tokens, --excluded-tokens.
std::vector<Flag> StepFlags();

// Sets sampling, the tokens, and if one of the first three flags was given `verify`. Errors: usage errors.
absl::Status SetStep(const Arguments& arguments, v1::ComputeDistributionRequest& request);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_STEP_FLAGS_H_
