// The flags of logitd.v1.SamplingParams, and the message that they fill: one flag per field, of the same name with
// dashes. What is a message in it (dry, xtc) has a flag for each of its fields: --dry-base, --xtc-threshold.
#ifndef LOGITD_CLIENT_CLI_SAMPLING_FLAGS_H_
#define LOGITD_CLIENT_CLI_SAMPLING_FLAGS_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "logitd/v1/sampling.pb.h"

namespace logitd::cli {

// --temperature and the truncations: --top-k, --top-p, --min-p, --typical-p, --epsilon-cutoff, --eta-cutoff,
// --top-n-sigma, --xtc-probability, --xtc-threshold. `temperature` is the help on its values.
std::vector<Flag> StageFlags(const char* temperature = "0: the most likely token; else in [1e-4, 1e6]; default 1");
// --allowed-tokens, --banned-tokens.
std::vector<Flag> TokenSetFlags();
// `groups`, then those of biases and penalties and of the order of the stages, then SessionFlags().
std::vector<FlagGroup> WithPenaltyFlags(std::vector<FlagGroup> groups);

// Leaves out what was not given, and is unset if nothing was: the server's defaults hold. Flags that a subcommand does
// not declare are not given. --seed is read too.
absl::StatusOr<std::optional<v1::SamplingParams>> SamplingFrom(const Arguments& arguments);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_SAMPLING_FLAGS_H_
