// `logit`: the command line of logitd.
#include <google/protobuf/stubs/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <thread>

#include "client/cli/commands.h"
#include "client/cli/terminal.h"

namespace {

// The size of standard input if it is a file.
std::optional<int64_t> InputBytes() {
  struct stat status {};
  if (fstat(STDIN_FILENO, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return static_cast<int64_t>(status.st_size);
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // gRPC logs failed connections on its own; this program says it once, in its own words.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Text that is not UTF-8 is an error of a call, and is said as one.
  google::protobuf::SetLogHandler(nullptr);
  logitd::cli::Environment environment{
      .in = std::cin,
      .out = std::cout,
      .err = std::cerr,
      .in_is_terminal = logitd::cli::IsTerminal(STDIN_FILENO),
      .out_is_terminal = logitd::cli::IsTerminal(STDOUT_FILENO),
      .err_is_terminal = logitd::cli::IsTerminal(STDERR_FILENO),
      .width = logitd::cli::TerminalWidth(STDOUT_FILENO),
      .in_bytes = InputBytes(),
      .variable =
          [](const std::string& name) {
            const char* value = std::getenv(name.c_str());
            return std::string(value == nullptr ? "" : value);
          },
      .connect = [](logitd::client::Options options) { return logitd::client::Client::Connect(std::move(options)); },
      .now = [] { return std::chrono::steady_clock::now(); },
      .sleep = [](std::chrono::milliseconds duration) { std::this_thread::sleep_for(duration); },
  };
  const int exit_code = logitd::cli::RunLogit(std::vector<std::string>(argv + 1, argv + argc), environment);
  std::cout.flush();
  // A full disk must not look like success.
  return exit_code == logitd::cli::kExitOk && !std::cout ? logitd::cli::kExitItemFailed : exit_code;
}
