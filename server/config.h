// The values of logitd's options, gathered from flags, environment and a file, each with its origin.
//
//   Config config{DefaultConfig()};
//   RETURN_IF_ERROR(AddFile("logitd.textproto", config));      // later ones win
//   RETURN_IF_ERROR(AddEnvironment(config));
//   RETURN_IF_ERROR(AddFlag(field, {"2"}, config));
//   config.OriginOf("runners")                                 // "logitd.textproto:3: runners"
//
// server/options.h defines their meaning and which values are allowed.
#ifndef LOGITD_SERVER_CONFIG_H_
#define LOGITD_SERVER_CONFIG_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "logitd/config/v1/server_config.pb.h"

namespace logitd::server {

struct Config {
  config::v1::ServerConfig values;
  // Field name -> origin. A field with its default value has no entry.
  std::map<std::string, std::string> origins;
  // Names of LOGITD_... variables that neither are options nor resemble one.
  std::vector<std::string> ignored_variables;

  // The origin of the field's value, as error messages begin with it: "--runners", "LOGITD_RUNNERS", "FILE:3: runners".
  std::string OriginOf(const std::string& field) const;
};

using ConfigField = google::protobuf::FieldDescriptor;

// Every option, in the order of the message.
std::vector<const ConfigField*> ConfigFields();
// "--runner-listen".
std::string FlagOf(const ConfigField& field);
// "LOGITD_RUNNER_LISTEN".
std::string VariableOf(const ConfigField& field);
// The values that an integer field may have.
struct WholeRange {
  int64_t least;
  int64_t most;
};
WholeRange RangeOf(const ConfigField& field);
// Errors: INVALID_ARGUMENT, naming `origin`, the value and the range.
absl::Status CheckRange(const ConfigField& field, const std::string& origin, int64_t value);
// The field's values as a flag takes them; none if it is unset.
std::vector<std::string> WordsOf(const ConfigField& field, const config::v1::ServerConfig& values);

// Each replaces what `config` has of a field. A repeated field's words are comma-separated in the environment; those of
// `head`, which have commas, are separated by semicolons.
// Errors: INVALID_ARGUMENT, naming the file and line, the variable or the flag. A variable whose name is almost that of
// an option is an error, too: it was mistyped.
absl::Status AddFile(const std::string& path, Config& config);
absl::Status AddEnvironment(Config& config);
absl::Status AddFlag(const ConfigField& field, const std::vector<std::string>& words, Config& config);

// The values in protobuf's text format, a line each: a file for AddFile.
std::string ToText(const config::v1::ServerConfig& values);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONFIG_H_
