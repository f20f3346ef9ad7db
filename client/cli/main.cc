// `logit`: the command line of logitd.
#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "client/cli/commands.h"
#include "client/cli/output_file.h"
#include "client/cli/terminal.h"

namespace {

// The size of standard input if it is a file.
std::optional<int64_t> InputBytes() {
  struct stat status {};
  if (fstat(STDIN_FILENO, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return static_cast<int64_t>(status.st_size);
}

// The handler of SIGINT writes a byte into this pipe, and a thread reads it.
int interrupt_pipe[2] = {-1, -1};

extern "C" void OnInterrupt(int) {
  static volatile std::sig_atomic_t is_second = 0;
  // A second Ctrl-C ends the process without waiting for an orderly end.
  if (is_second != 0) _exit(logitd::cli::kExitInterrupted);
  is_second = 1;
  const char byte = 0;
  // A pipe that holds nothing has room for a byte.
  [[maybe_unused]] const ssize_t written = write(interrupt_pipe[1], &byte, 1);
}

std::stop_token TakeInterrupts() {
  static std::stop_source source;
  if (interrupt_pipe[0] >= 0 || pipe2(interrupt_pipe, O_CLOEXEC) != 0) return source.get_token();
  // A stop callback may take locks, which a signal handler must not.
  std::thread([] {
    char byte = 0;
    while (read(interrupt_pipe[0], &byte, 1) < 0 && errno == EINTR) {
    }
    source.request_stop();
  }).detach();
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  return source.get_token();
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  logitd::cli::OutputFile output_file(STDOUT_FILENO);
  std::ostream out(&output_file);
  // gRPC would log failed connections; this program reports them once, in its own words.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Text that is not UTF-8 is an error of the call, which reports it.
  google::protobuf::SetLogHandler(nullptr);
  logitd::cli::Environment environment{
      .in = std::cin,
      .out = out,
      .err = std::cerr,
      .in_is_terminal = logitd::cli::IsTerminal(STDIN_FILENO),
      .out_is_terminal = logitd::cli::IsTerminal(STDOUT_FILENO),
      .err_is_terminal = logitd::cli::IsTerminal(STDERR_FILENO),
      .width = logitd::cli::TerminalWidth(STDOUT_FILENO),
      .err_width = [] { return logitd::cli::TerminalWidth(STDERR_FILENO); },
      .in_bytes = InputBytes(),
      .variable =
          [](const std::string& name) {
            const char* value = std::getenv(name.c_str());
            return std::string(value == nullptr ? "" : value);
          },
      .connect = [](logitd::client::Options options) { return logitd::client::Client::Connect(std::move(options)); },
      .now = [] { return std::chrono::steady_clock::now(); },
      .sleep = [](std::chrono::milliseconds duration) { std::this_thread::sleep_for(duration); },
      .take_interrupts = TakeInterrupts,
  };
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const int exit_code = logitd::cli::RunLogit(arguments, environment);
  out.flush();
  // A full disk must not look like success.
  if (output_file.error() == 0) return exit_code;
  return logitd::cli::ReportUnwrittenOutput(output_file.error(), exit_code, arguments, environment);
}
