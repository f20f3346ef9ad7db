// logitd's command line and environment.
#ifndef LOGITD_SERVER_OPTIONS_H_
#define LOGITD_SERVER_OPTIONS_H_

#include <chrono>
#include <optional>
#include <string>

#include "server/server.h"

namespace logitd::server {

struct Options {
  ServerOptions server;
  // Empty: no model of its own; runners may attach.
  std::string model_file;
  std::string model_name;
  std::string precision = "f32";
  std::string cache_dir;
  std::chrono::milliseconds grace_period{10'000};
};

// The options, or the exit status with which the process is to end (0 after --help and --version, 2 for a usage error,
// said on standard error).
struct ParsedOptions {
  std::optional<Options> options;
  int exit_status = 0;
};
ParsedOptions ParseOptions(int argc, char** argv);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_OPTIONS_H_
