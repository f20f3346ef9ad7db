// A subcommand of `logit` and its flags. Each flag is one row: parsing, the request's field, help, docs/cli-flags.md
// and shell completion all come from it.
//
//   {"--top-k", "sampling.top_k", "K", "keep the K most likely tokens; 0: off"}
//
// To add a flag that sets a field, add its row to the command's file, or to flags.cc if several commands have it, and
// renew docs/cli-flags.md.
#ifndef LOGITD_CLIENT_CLI_COMMAND_H_
#define LOGITD_CLIENT_CLI_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"

namespace logitd::cli {

class Arguments;
struct Session;

struct Flag {
  // With its dashes: "--top-k", "-n".
  std::string name;
  // The field that it sets, as a path from the request: "sampling.top_k" (request_fields.h). Empty: the command reads
  // the flag itself.
  std::string field = "";
  // The value's name in the help. Empty: the flag takes no value.
  std::string value = "";
  std::string help;
  // Whether it may be given several times. A flag whose path goes through a repeated message always may.
  bool repeatable = false;
  // Another name for the same flag: "-h". Arguments knows the flag by `name`.
  std::string alias = "";
  // The values that it takes. Empty: any, or the names of its field's enum.
  std::vector<std::string> choices = {};
};

// A headed list of flags in the help.
struct FlagGroup {
  std::string heading;
  std::vector<Flag> flags;
};

struct Command {
  // "score"
  std::string name;
  // One line for the list of all commands.
  std::string purpose = "";
  // "CONTEXT CONTINUATION...". Empty: the command takes no positional arguments.
  std::string positionals = "";
  // A description for its own help.
  std::string summary = "";
  // One command a line; lines that start with "#" are remarks.
  std::string examples = "";
  // Flags of its own. Those of every command (SessionFlags) come after them.
  std::vector<FlagGroup> groups = {};
  // The message that its flags' fields belong to. Null: no flag has a field.
  const google::protobuf::Descriptor* request = nullptr;
  // Whether the server must have a model.
  bool needs_model = true;
  // Runs it. Returns the exit code; an error is reported by whoever calls.
  absl::StatusOr<int> (*run)(const Arguments& arguments, Session& session) = nullptr;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMMAND_H_
