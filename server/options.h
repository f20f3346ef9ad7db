// logitd's options: their meaning and the allowed values. server/config.h gathers them.
#ifndef LOGITD_SERVER_OPTIONS_H_
#define LOGITD_SERVER_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config.h"
#include "server/head_spec.h"
#include "server/logging.h"
#include "server/server.h"

namespace logitd::server {

// Options that passed every check that is possible before the start.
struct Options {
  ServerOptions server;
  // Empty: the server starts no model; runners may attach.
  std::string model_file;
  std::string model_name;
  int32_t runners = 1;
  // Threads of each runner. 0: the CPUs that other processes leave free, at most an equal share of all CPUs.
  int32_t threads = 0;
  // Of each runner. 0: the length that the model was trained with, as many tokens as fit the memory, and 64.
  int32_t context_length = 0;
  int64_t cache_tokens = 0;
  int32_t max_sequences = 0;
  // OpenAI's API over HTTP: HOST:PORT. Empty: none.
  std::string http;
  std::vector<std::string> http_allowed_hosts;
  int32_t http_max_queue = 0;
  std::chrono::milliseconds http_max_wait{0};
  // Heads to read at the start.
  std::vector<HeadSpec> heads;
  std::string precision;
  std::string cache_dir;
  // Empty: the best of this CPU.
  std::string kernel_target;
  std::chrono::milliseconds grace_period{0};
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
  // Config.ignored_variables.
  std::vector<std::string> ignored_variables;
};

// The defaults, with every field set.
config::v1::ServerConfig DefaultConfig();

// Errors begin with the origin of the value: INVALID_ARGUMENT for a value that is not allowed, UNAVAILABLE for one that
// this machine cannot serve (no such file or instruction set).
absl::StatusOr<Options> ToOptions(const Config& config);

// The options, or the status with which the process must exit:
// - 0 after --help, --version, and a --check-config that found no error;
// - 1 for options that this machine cannot serve; 2 for a usage error. The reason is on standard error.
inline constexpr int kCannotServe = 1;
inline constexpr int kUsageError = 2;
struct ParsedOptions {
  std::optional<Options> options;
  int exit_status = 0;
};
ParsedOptions ParseOptions(int argc, char** argv);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_OPTIONS_H_
