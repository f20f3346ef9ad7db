// The values of logitd's options, brought together from flags, environment and a file, and where each came from.
//
//   Config config{DefaultConfig()};
//   RETURN_IF_ERROR(AddFile("logitd.textproto", config));      // later ones win
//   RETURN_IF_ERROR(AddEnvironment(config));
//   RETURN_IF_ERROR(AddFlag(field, {"2"}, config));
//   config.OriginOf("runners")                                 // "logitd.textproto:3: runners"
//
// What the values mean, and which are allowed, is server/options.h's.
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
  // By the field's name; a field that has its default value has none.
  std::map<std::string, std::string> origins;
  // Variables LOGITD_... that are no option and resemble none.
  std::vector<std::string> ignored_variables;

  // Where the field's value was given, as an error message begins: "--runners", "LOGITD_RUNNERS", "FILE:3: runners".
  std::string OriginOf(const std::string& field) const;
};

using ConfigField = google::protobuf::FieldDescriptor;

// Every option, in the order of the message.
std::vector<const ConfigField*> ConfigFields();
// "--runner-listen".
std::string FlagOf(const ConfigField& field);
// "LOGITD_RUNNER_LISTEN".
std::string VariableOf(const ConfigField& field);
// What a field that is a whole number may be.
struct WholeRange {
  int64_t least;
  int64_t most;
};
WholeRange RangeOf(const ConfigField& field);
// Errors: INVALID_ARGUMENT, naming `origin`, the value and the range.
absl::Status CheckRange(const ConfigField& field, const std::string& origin, int64_t value);
// The field's values as a flag takes them; none if it is unset.
std::vector<std::string> WordsOf(const ConfigField& field, const config::v1::ServerConfig& values);

// Each replaces what `config` has of a field. A repeated field's words are comma-separated in the environment.
// Errors: INVALID_ARGUMENT, naming the file and line, the variable or the flag; a variable that is nearly the name of
// an option is one: it was mistyped.
absl::Status AddFile(const std::string& path, Config& config);
absl::Status AddEnvironment(Config& config);
absl::Status AddFlag(const ConfigField& field, const std::vector<std::string>& words, Config& config);

// The values in protobuf's text format, a line each: a file for AddFile.
std::string ToText(const config::v1::ServerConfig& values);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONFIG_H_
