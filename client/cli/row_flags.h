// One row of `--logits`: what `distribution` and `verify` have in common.
#ifndef LOGITD_CLIENT_CLI_ROW_FLAGS_H_
#define LOGITD_CLIENT_CLI_ROW_FLAGS_H_

#include <vector>

#include "absl/status/status.h"
#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "logitd/v1/decoding_service.pb.h"

namespace logitd::cli {

// --logits, --dtype, --row, --sequence.
std::vector<Flag> RowFlags();

// Sets request.logits. Of several rows it is row --row of sequence --sequence; default: the row of the step, which is
// --position, else the number of --output-tokens; sequence 0. Errors: usage errors.
// REQUIRES: the step is set (SetStep).
absl::Status SetRow(const Arguments& arguments, Environment& environment, v1::ComputeDistributionRequest& request);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ROW_FLAGS_H_
