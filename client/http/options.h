// The options of logitd-http.
#ifndef LOGITD_CLIENT_HTTP_OPTIONS_H_
#define LOGITD_CLIENT_HTTP_OPTIONS_H_

#include <chrono>
#include <optional>
#include <string>

#include "client/http/call_gate.h"
#include "client/http/http_server.h"

namespace logitd::http {

// The exit status of a process that cannot serve, and of a wrong command line.
inline constexpr int kCannotServe = 1;
inline constexpr int kUsageError = 2;

struct Options {
  std::string listen_host;
  int listen_port = 0;
  std::string server_address;
  HttpServer::Options http;
  CallGate::Options gate;
  // For which requests in work may go on after SIGTERM.
  std::chrono::milliseconds grace_period{0};
};

// The options, or the status with which the process must exit: 0 after --help, --version and --compatibility,
// kUsageError.
struct ParsedOptions {
  std::optional<Options> options;
  int exit_status = 0;
};
ParsedOptions ParseOptions(int argc, char** argv);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_OPTIONS_H_
