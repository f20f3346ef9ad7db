// The flags that several subcommands share, and the request messages they fill: one flag per field, of the same name
// with dashes. Those of sampling: sampling_flags.h.
#ifndef LOGITD_CLIENT_CLI_REQUEST_FLAGS_H_
#define LOGITD_CLIENT_CLI_REQUEST_FLAGS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/sampling.pb.h"

namespace logitd::cli {

// --max-tokens, --min-tokens, --stop-token-ids, --ignore-eos.
// `max_tokens` is the help on that flag.
std::vector<Flag> StopFlags(const char* max_tokens = "at most so many tokens; default 256");
// --rank, --entropy, --top-n, --packed-top, --kept-set, and if `draws` --draw.
std::vector<Flag> RecordFlags(bool draws);
// --add-special-tokens, --parse-special-tokens, and if `pairs` --boundary.
std::vector<Flag> TokenizationFlags(bool pairs);

// Each of these leaves out what was not given, and is unset if nothing was: the server's defaults hold. Flags that a
// subcommand does not declare are not given.
absl::StatusOr<std::optional<v1::StopCriteria>> StopFrom(const Arguments& arguments);
absl::StatusOr<std::optional<v1::RecordOptions>> RecordFrom(const Arguments& arguments);
absl::StatusOr<std::optional<v1::TokenizationOptions>> TokenizationFrom(const Arguments& arguments);

// What a given token's record cannot have without stages: --kept-set. Errors: a usage error.
absl::Status CheckKeptSet(const v1::RecordOptions& record, bool has_sampling);

// Sets `target` if a value is there; passes the error on.
template <typename Value, typename Set>
absl::Status SetIfGiven(absl::StatusOr<std::optional<Value>> value, Set set) {
  if (!value.ok()) return value.status();
  if (value->has_value()) set(**std::move(value));
  return absl::OkStatus();
}

v1::Input TextInput(std::string text);
v1::Input TokensInput(const std::vector<int32_t>& token_ids);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_REQUEST_FLAGS_H_
