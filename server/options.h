// logitd's options: what they mean, which values are allowed, and how the process is told of them (server/config.h).
#ifndef LOGITD_SERVER_OPTIONS_H_
#define LOGITD_SERVER_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/logging.h"
#include "server/server.h"

namespace logitd::server {

// Checked: what can be known before the start is right.
struct Options {
  ServerOptions server;
  // Empty: no model of its own; runners may attach.
  std::string model_file;
  std::string model_name;
  int32_t runners = 1;
  // Of each runner; 0: the CPUs that others leave free, at most those divided among the runners.
  int32_t threads = 0;
  // Of each runner; 0: what the model was trained with, what the memory holds, and 64.
  int32_t context_length = 0;
  int64_t cache_tokens = 0;
  int32_t max_sequences = 0;
  std::string precision;
  std::string cache_dir;
  // "" is the best of this CPU.
  std::string kernel_target;
  std::chrono::milliseconds grace_period{0};
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
  // Config.ignored_variables.
  std::vector<std::string> ignored_variables;
};

// Every field set.
config::v1::ServerConfig DefaultConfig();

// Errors, each beginning with where the value was given: INVALID_ARGUMENT for a value that is not allowed, UNAVAILABLE
// for one that this machine cannot serve (no such file or instruction set).
absl::StatusOr<Options> ToOptions(const Config& config);

// The options, or the exit status with which the process is to end: 0 after --help, --version and a --check-config that
// found nothing wrong; 1 for what cannot be served, 2 for a usage error, both said on standard error.
struct ParsedOptions {
  std::optional<Options> options;
  int exit_status = 0;
};
ParsedOptions ParseOptions(int argc, char** argv);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_OPTIONS_H_
