// logitd: starts the server and, with --model, its runner; serves until SIGTERM or SIGINT.
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <system_error>
#include <thread>

#include "server/models/child_runner.h"
#include "server/options.h"
#include "server/server.h"

namespace {

using logitd::server::ChildRunner;
using logitd::server::Options;
using logitd::server::Server;

constexpr int kCannotServe = 1;
constexpr int kUsageError = 2;

int Fail(const std::string& message, int exit_status) {
  std::cerr << "logitd: " << message << "\n";
  return exit_status;
}

// logitd-llama stands beside logitd, or on the PATH.
std::string RunnerProgram() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / "logitd-llama";
  return !error && std::filesystem::exists(beside) ? beside.string() : "logitd-llama";
}

// Starts the runner and waits until its model is attached. Null: stopped or failed meanwhile.
std::unique_ptr<ChildRunner> ServeModel(const Options& options, Server& server, const std::atomic<bool>& stop) {
  server.ExpectModel(options.model_name);
  std::vector<std::string> command = {RunnerProgram(),    "--attach",         server.runner_address(),
                                      "--model",          options.model_file, "--model-name",
                                      options.model_name, "--precision",      options.precision};
  if (!options.cache_dir.empty()) command.insert(command.end(), {"--cache-dir", options.cache_dir});
  auto runner = std::make_unique<ChildRunner>(std::move(command), [&server] { server.Wake(); });
  const bool attached =
      server.WaitForModel(options.model_name, [&] { return stop.load() || runner->exit_count() > 0; });
  if (attached || stop.load()) return runner;
  std::cerr << "logitd: the model runner ended before it could serve " << options.model_file << " ("
            << runner->last_exit() << "); its own message above says why\n";
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const auto [parsed, exit_status] = logitd::server::ParseOptions(argc, argv);
  if (!parsed) return exit_status;
  const Options& options = *parsed;
  // Standard output is for "listening on" alone.
  spdlog::set_default_logger(spdlog::stderr_color_mt("logitd"));

  if (!options.model_file.empty()) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(options.model_file, error)) {
      return Fail("--model: there is no file " + options.model_file + "; give the path of a GGUF file", kCannotServe);
    }
  }
  // What gRPC has to say of a failed call is in its status; its own log lines only repeat it.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Before any thread is made, so that all of them inherit it: signals come to the waiting thread alone.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  auto server = Server::Start(options.server);
  if (!server.ok()) {
    const bool usage = server.status().code() == absl::StatusCode::kInvalidArgument;
    return Fail(std::string(server.status().message()), usage ? kUsageError : kCannotServe);
  }
  std::atomic<bool> stop{false};
  std::thread signal_waiter([&] {
    int signal = 0;
    ::sigwait(&signals, &signal);
    stop = true;
    (*server)->Wake();
  });

  std::unique_ptr<ChildRunner> runner;
  const bool has_model = !options.model_file.empty();
  if (has_model) runner = ServeModel(options, **server, stop);
  const bool can_serve = !has_model || runner != nullptr;
  if (can_serve && !stop.load()) {
    for (const std::string& address : (*server)->addresses()) std::cout << "listening on " << address << std::endl;
  }
  if (!can_serve) ::pthread_kill(signal_waiter.native_handle(), SIGTERM);
  signal_waiter.join();
  spdlog::info("stopping");
  // A second signal ends the process at once.
  ::signal(SIGTERM, SIG_DFL);
  ::signal(SIGINT, SIG_DFL);
  ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  (*server)->Drain(options.grace_period);
  return can_serve ? 0 : kCannotServe;
}
