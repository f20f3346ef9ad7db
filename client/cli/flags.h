// The flags that several subcommands share. Flags that set fields have their field's name with dashes.
#ifndef LOGITD_CLIENT_CLI_FLAGS_H_
#define LOGITD_CLIENT_CLI_FLAGS_H_

#include <initializer_list>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/arguments.h"
#include "client/cli/command.h"
#include "client/cli/session.h"
#include "client/logitd/logits_rows.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/decoding_service.pb.h"

namespace logitd::cli {

// Lists of flags as one.
std::vector<Flag> Joined(std::initializer_list<std::vector<Flag>> lists);

// Those that every subcommand has: --server, --timeout, --json, --color, --help.
FlagGroup SessionFlags();

// --calibration, for commands whose items have competing parts.
Flag CalibrationFlag();
// --model.
Flag ModelFlag();
// --seed of the sampling parameters.
Flag SeedFlag();
// --temperature and the truncations. `temperature`: help on its values.
std::vector<Flag> StageFlags(const char* temperature = "0: the most likely token; else in [1e-4, 1e6]; default 1");
// --allowed-tokens, --banned-tokens.
std::vector<Flag> TokenSetFlags();
// `groups`, then those of biases, bans and penalties and of the order of the stages.
std::vector<FlagGroup> WithPenaltyFlags(std::vector<FlagGroup> groups);
// --max-tokens, --min-tokens, --stop-token-ids, --ignore-eos. `max_tokens`: the default of --max-tokens.
std::vector<Flag> StopFlags(const char* max_tokens);
// --rank, --entropy, --top-n, --packed-top, --kept-set.
std::vector<Flag> RecordFlags();
// --draw, for commands that draw.
Flag DrawFlag();
// --add-special-tokens, --parse-special-tokens.
std::vector<Flag> TokenizationFlags();
// --boundary, --truncation, for commands that join texts.
std::vector<Flag> PairFlags();
Flag TruncationFlag();
// --cache-salt, --no-cache.
std::vector<Flag> EvaluationFlags();
// These and --reproducible, for commands that score.
std::vector<Flag> ReproducibleFlags();

// --logits, --dtype, --head, --before-output-norm, --head-tokens.
std::vector<Flag> LogitsFlags();
// --prompt-tokens of rows: the tokens before the first row.
Flag PromptTokensFlag();
// Opens --logits: a list of numbers, the name of a .npy file, or "-" for such a file on standard input. Errors: usage
// errors; --logits is missing, or is neither; --head is no head of the server, or of another shape.
absl::StatusOr<client::LogitsRows> OpenLogits(const Arguments& arguments, Session& session);

// --logits, --dtype, --row, --sequence: one row.
std::vector<Flag> RowFlags();
// The step of a sequence that the row belongs to: --seed, --sequence-key, --position, --prompt-tokens, --output-tokens,
// --excluded-tokens.
std::vector<Flag> StepFlags();
// Sets the fields of a request for one row, and its logits. Of several rows it is row --row of sequence --sequence;
// default: the row of the step (--position, else the number of --output-tokens) of sequence 0. Errors: usage errors.
absl::Status SetRowRequest(const Arguments& arguments, Session& session, v1::ComputeDistributionRequest& request);

// Checks that --packed-top has its --top-n and, where given tokens are scored, --kept-set its stages.
absl::Status CheckRecord(const Arguments& arguments, const v1::RecordOptions& record, bool has_stages = true);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_FLAGS_H_
