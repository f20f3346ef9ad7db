// The part of the command line that `score` and `rank` share: one context and several continuations, as text or token
// ids, or items on standard input.
#ifndef LOGITD_CLIENT_CLI_PAIR_FLAGS_H_
#define LOGITD_CLIENT_CLI_PAIR_FLAGS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/environment.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

struct Pair {
  v1::Input context;
  // At least one.
  std::vector<v1::Continuation> continuations;
  // How each continuation is shown: its text, escaped, or its ids in brackets.
  std::vector<std::string> labels;
};

// --context-tokens and a repeatable flag for each of these names.
std::vector<Flag> PairFlags(const std::vector<std::string>& continuation_flags);

// Whether items come from standard input: the only positional argument is "-", or the command line gives nothing and
// standard input is no terminal. `pair_flags`: PairFlags.
bool ReadsItems(const Arguments& arguments, const std::vector<Flag>& pair_flags, const Environment& environment);

// The usage error for standard input without any item. `message_name`: the message that a line should be.
absl::Status NoItemsError(const std::string& message_name);

// The context is --context-tokens, else the first positional argument; the continuations are the other positional
// arguments, then those given as tokens. `what` names a continuation in errors: "CONTINUATION", "CANDIDATE".
absl::StatusOr<Pair> PairFrom(const Arguments& arguments, const std::vector<Flag>& pair_flags, const std::string& what);

// As Pair.labels.
std::string LabelOf(const v1::Continuation& continuation);
std::string LabelOf(const v1::Candidate& candidate);
std::string LabelOf(const v1::DecisionOption& option);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_PAIR_FLAGS_H_
