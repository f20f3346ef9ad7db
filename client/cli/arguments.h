// A subcommand's command line: flags, their values, positional text, and the help that describes them.
//
//   Arguments arguments({.name = "rank", ...}, {{.name = "--order-by", .value = "NORM", .help = "..."}, ...});
//   absl::Status status = arguments.Parse(args);
//   absl::StatusOr<std::optional<double>> beta = arguments.Double("--inverse-temperature");
//
// Written here, and not left to a library, because positional arguments are arbitrary text: a prompt "{}", "[1,2]",
// "%%", "++" or "" must arrive as it is, "--logits -inf,2" is a value, and `--allowed ""` is an empty set.
//
// Grammar: `--name VALUE`, `--name=VALUE`, `-x VALUE`, `-xVALUE`; a flag that takes a value takes the next argument
// whatever it looks like. `--` ends the flags. Text that starts with "-" counts as positional if it is "-", holds a
// space, or goes on with a digit.
//
// Errors are usage errors (UsageError), which end the command with exit code 2.
#ifndef LOGITD_CLIENT_CLI_ARGUMENTS_H_
#define LOGITD_CLIENT_CLI_ARGUMENTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "logitd/v1/error.pb.h"

namespace logitd::cli {

struct Flag {
  // With its dashes: "--top-k", "-n".
  std::string name;
  // What stands for the value in the help. Empty: the flag takes none.
  std::string value;
  std::string help;
  bool repeatable = false;
  // Another name for the same, "-h". Empty: none. What is asked of Arguments goes by `name`.
  std::string alias = "";
};

// A headed list of flags in the help.
struct FlagGroup {
  std::string heading;
  std::vector<Flag> flags;
};

struct CommandHelp {
  // "score"
  std::string name;
  // "CONTEXT CONTINUATION...". Empty: no positional arguments are taken.
  std::string positionals;
  std::string summary;
  // One command a line; lines that start with "#" are remarks.
  std::string examples;
};

// A command line that is wrong: `field` (a flag, a positional's name, a variable) must be `bound`, got `value`.
absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound);
// The same in other words, `message`.
absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound,
                        std::string_view message);
// What is wrong with `field` is no value that has a bound: it is missing, or does not go with another.
absl::Status UsageError(std::string_view field, std::string_view message);
bool IsUsageError(const absl::Status& status);
// What --json shows of it. REQUIRES: IsUsageError.
v1::Error UsageErrorMessage(const absl::Status& status);

// Parses "1,2,3"; "" is the empty list. `subject` names the flag in errors.
absl::StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view subject, std::string_view text);

class Arguments {
 public:
  Arguments(CommandHelp help, std::vector<FlagGroup> groups);

  // Reads the arguments after the subcommand's name. One that is not UTF-8 is refused: the wire takes no other text.
  absl::Status Parse(const std::vector<std::string>& args);

  const std::vector<std::string>& positionals() const { return positionals_; }
  bool Has(const std::string& name) const;
  // The last value of a flag. REQUIRES: Has(name).
  const std::string& Value(const std::string& name) const;
  std::vector<std::string> Values(const std::string& name) const;

  // Typed values; unset if the flag was not given. Ranges are the server's business: -1 passes.
  absl::StatusOr<std::optional<double>> Double(const std::string& name) const;
  absl::StatusOr<std::optional<int32_t>> Int32(const std::string& name) const;
  absl::StatusOr<std::optional<uint64_t>> Uint64(const std::string& name) const;
  absl::StatusOr<std::optional<bool>> Bool(const std::string& name) const;
  absl::StatusOr<std::optional<std::vector<int32_t>>> TokenIds(const std::string& name) const;

  // The whole help page, its text in lines of at most `width` columns (0: of any length), its examples in lines of at
  // most 80.
  std::string HelpText(int width = 0) const;

 private:
  const Flag* Find(const std::string& name) const;
  absl::Status Add(const Flag& flag, std::string value);

  CommandHelp help_;
  std::vector<FlagGroup> groups_;
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positionals_;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ARGUMENTS_H_
