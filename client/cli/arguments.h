// A subcommand's command line: flags, their values and positional text.
//
//   Arguments arguments(command);
//   RETURN_IF_ERROR(arguments.Parse(args));
//   RETURN_IF_ERROR(SetFields(arguments, request));                                  // request_fields.h
//   ASSIGN_OR_RETURN(std::optional<double> timeout, arguments.Get<double>("--timeout"));
//
// A library would change positional arguments, which are arbitrary text here: a prompt "{}", "[1,2]", "%%", "++" or ""
// must arrive as it is, "--logits -inf,2" has a value, and `--allowed ""` is an empty set (docs/adr/0003).
//
// Grammar: `--name VALUE`, `--name=VALUE`, `-x VALUE`, `-xVALUE`. A flag that takes a value takes the next argument
// whatever it looks like. `--` ends the flags. Text that starts with "-" is positional if it is "-", holds a space, or
// goes on with a digit.
//
// Errors are usage errors (UsageError): the command ends with exit code 2.
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
#include "base/status_macros.h"
#include "client/cli/command.h"

namespace logitd::cli {

// A client::InputError about the command line: `field` (a flag, a positional's name, a variable) must be `bound`, got
// `value`.
absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound);
// The same with a message of its own.
absl::Status UsageError(std::string_view field, std::string_view value, std::string_view bound,
                        std::string_view message);
// `field` is missing, or does not go with another flag: there is no value and no bound.
absl::Status UsageError(std::string_view field, std::string_view message);

// A value that was quoted in an error, cut to the columns that errors have for it.
std::string QuotedValue(std::string_view value);

// Parse a flag's value; `flag` names it in errors. Ranges are the server's business: -1 passes. Token ids are "1,2,3";
// "" is the empty list.
absl::Status ParseValue(std::string_view flag, const std::string& text, double& out);
absl::Status ParseValue(std::string_view flag, const std::string& text, int32_t& out);
absl::Status ParseValue(std::string_view flag, const std::string& text, uint64_t& out);
absl::Status ParseValue(std::string_view flag, const std::string& text, bool& out);
absl::Status ParseValue(std::string_view flag, const std::string& text, std::vector<int32_t>& out);

class Arguments {
 public:
  explicit Arguments(Command command);

  // Reads the arguments after the subcommand's name. An argument that is not UTF-8 is refused: protobuf's strings take
  // no other text.
  absl::Status Parse(const std::vector<std::string>& args);

  const Command& command() const { return command_; }
  const std::vector<std::string>& positionals() const { return positionals_; }
  bool Has(const std::string& name) const { return values_.count(name) > 0; }
  // The first of these flags that was given. Null: none was.
  const Flag* FirstOf(const std::vector<Flag>& flags) const;
  // The last value of a flag; "" if it was not given.
  std::string Value(const std::string& name) const;
  // All of its values.
  std::vector<std::string> Values(const std::string& name) const;
  // Its value, parsed (ParseValue). Unset: it was not given.
  template <typename T>
  absl::StatusOr<std::optional<T>> Get(const std::string& name) const {
    std::optional<T> value;
    if (Has(name)) RETURN_IF_ERROR(ParseValue(name, Value(name), value.emplace()));
    return value;
  }

 private:
  const Flag* Find(const std::string& name) const;
  // Why there is no such flag.
  absl::Status UnknownFlag(const std::string& typed) const;
  absl::Status Add(const Flag& flag, std::string value);

  Command command_;
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positionals_;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ARGUMENTS_H_
