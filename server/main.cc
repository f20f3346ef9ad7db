// logitd: starts the server and, with --model, its runners; serves until SIGTERM or SIGINT.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <system_error>
#include <vector>

#include "core/kernel_target.h"
#include "host/available_memory.h"
#include "server/foreign_logs.h"
#include "server/head_loader.h"
#include "server/logging.h"
#include "server/memory.h"
#include "server/options.h"
#include "server/process_end.h"
#include "server/server.h"
#include "server/stop_signals.h"
#include "server/version.h"

namespace {

using logitd::server::kCannotServe;
using logitd::server::kUsageError;
using logitd::server::Log;
using logitd::server::LogLevel;
using logitd::server::Options;
using logitd::server::Server;
using logitd::server::StopSignals;

int Fail(const std::string& message, int exit_status) {
  logitd::server::ReportFailure(message);
  return exit_status;
}

// The path of another program of logitd: beside this one, or found on the PATH.
std::string PathOf(const std::string& program) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / program;
  return !error && std::filesystem::exists(beside) ? beside.string() : program;
}

std::string RunnerProgram() { return PathOf("logitd-llama"); }

// `memory`: bytes that were available before the first runner started, so that a restarted runner takes as much as
// before.
std::vector<std::string> RunnerCommand(const Options& options, int64_t memory, const std::string& server_address,
                                       const std::string& runner_name) {
  std::vector<std::string> command = {RunnerProgram(),    "--attach",      server_address,     "--model",
                                      options.model_file, "--model-name",  options.model_name, "--precision",
                                      options.precision,  "--runner-name", runner_name};
  if (!options.cache_dir.empty()) command.insert(command.end(), {"--cache-dir", options.cache_dir});
  const auto add = [&](const char* flag, int64_t value) {
    if (value > 0) command.insert(command.end(), {flag, std::to_string(value)});
  };
  add("--context-length", options.context_length);
  add("--cache-tokens", options.cache_tokens);
  add("--max-sequences", options.max_sequences);
  add("--memory", memory);
  if (options.runners > 1) add("--memory-sharers", options.runners);
  if (options.threads > 0) {
    command.insert(command.end(), {"--threads", std::to_string(options.threads)});
  } else if (options.runners > 1) {
    command.insert(command.end(), {"--cpu-sharers", std::to_string(options.runners)});
  }
  return command;
}

// Starts the runners and waits until one of them serves the model. False: none can, and the reason is reported.
bool ServeModel(const Options& options, Server& server, const StopSignals& signals) {
  const int64_t memory = logitd::host::MeasureAvailableMemory().bytes;
  server.StartRunners(
      {options.model_name, options.runners, [&options, &server, memory](const std::string& runner_name) {
         return RunnerCommand(options, memory, server.runner_address(), runner_name);
       }});
  if (server.WaitForModel(options.model_name, [&] { return signals.requested(); }) || signals.requested()) return true;
  logitd::server::ReportFailure("the model runner ended before it could serve " + options.model_file + " (" +
                                server.RunnersFailure().value_or("") + ")");
  return false;
}

// How long HTTP requests in work may go on after SIGTERM. The server needs some of the grace period after them.
std::chrono::milliseconds HttpGracePeriod(std::chrono::milliseconds grace_period) {
  return grace_period - std::min<std::chrono::milliseconds>(grace_period / 2, std::chrono::seconds(3));
}

std::vector<std::string> HttpCommand(const Options& options, const Server& server) {
  const auto seconds = [](std::chrono::milliseconds time) {
    return std::to_string(std::chrono::duration<double>(time).count());
  };
  std::vector<std::string> command = {PathOf("logitd-http"),
                                      "--server",
                                      server.private_address(),
                                      "--max-queue",
                                      std::to_string(options.http_max_queue),
                                      "--queue-seconds",
                                      seconds(options.http_max_wait),
                                      "--grace-seconds",
                                      seconds(HttpGracePeriod(options.grace_period))};
  for (const std::string& host : options.http_allowed_hosts) {
    command.insert(command.end(), {"--allowed-host", host});
  }
  if (options.server.allow_plaintext) command.emplace_back("--allow-plaintext");
  return command;
}

// Starts logitd-http and waits until it listens, before any model is loaded: an address that is in use is found at
// once. False: it cannot, and the reason is reported.
bool ServeHttp(const Options& options, Server& server, const StopSignals& signals) {
  server.StartHttp({HttpCommand(options, server), options.http, HttpGracePeriod(options.grace_period)});
  if (server.WaitForHttp([&] { return signals.requested(); }) || signals.requested()) return true;
  logitd::server::ReportFailure("--http: logitd-http ended before it could listen on " + options.http + " (" +
                                server.HttpFailure().value_or("") + ")");
  return false;
}

// Says that clients can use `address`.
void SayListening(const char* what, const std::string& address) {
  std::cout << what << " " << address << std::endl;
  if (!std::cout) Log(LogLevel::kWarn, "standard output cannot be written");
}

// Reads the heads. Unset: one cannot be read, and the reason is reported; or a signal has come.
std::optional<logitd::server::Heads> ReadHeads(const Options& options, const StopSignals& signals) {
  logitd::server::HeadLoading loading;
  loading.runner_program = RunnerProgram();
  loading.give_up = [&signals] { return signals.requested(); };
  auto heads = logitd::server::LoadHeads(options.heads, loading);
  if (!heads.ok()) {
    if (!signals.requested()) logitd::server::ReportFailure("--head: " + std::string(heads.status().message()));
    return std::nullopt;
  }
  for (const logitd::server::NamedHead& head : heads->list()) {
    Log(LogLevel::kInfo, "head read",
        {{"name", head.name},
         {"weight", head.weight_name},
         {"vocab_size", int64_t{head.head->vocab_size()}},
         {"hidden_size", int64_t{head.head->hidden_size()}},
         {"type", head.source_dtype},
         {"bytes", static_cast<int64_t>(head.head->bytes())}});
  }
  return *std::move(heads);
}

// Raises the limit of open files, because each connection is one. The default of 1024 is for programs with select().
void AllowAllFiles() {
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

int main(int argc, char** argv) {
  logitd::server::RouteForeignLogs();
  const auto [parsed, exit_status] = logitd::server::ParseOptions(argc, argv);
  if (!parsed) return exit_status;
  const Options& options = *parsed;
  logitd::server::SetUpLog(options.log_format, options.log_level);
  if (!options.kernel_target.empty()) {
    const absl::Status selected = logitd::SelectKernelTarget(options.kernel_target);
    if (!selected.ok()) return Fail(std::string(selected.message()), kCannotServe);
  }
  AllowAllFiles();
  logitd::server::SetUpAllocator();
  // gRPC's log lines only repeat the status of a failed call.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  // Static, because its thread lives as long as the process.
  static StopSignals signals;
  ::signal(SIGPIPE, SIG_IGN);

  Log(LogLevel::kInfo, "starting",
      {{"version", std::string(logitd::server::kVersion)}, {"kernel_target", logitd::KernelTarget()}});
  for (const std::string& name : options.ignored_variables) {
    Log(LogLevel::kInfo, "variable ignored: not an option", {{"name", name}});
  }
  std::optional<logitd::server::Heads> heads = ReadHeads(options, signals);
  if (!heads) logitd::server::EndProcess(signals.requested() ? 0 : kCannotServe);
  logitd::server::KeepGrpcRunning();
  auto started = Server::Start(options.server, *std::move(heads), /*private_listen=*/!options.http.empty());
  if (!started.ok()) {
    const bool usage = started.status().code() == absl::StatusCode::kInvalidArgument;
    return Fail(std::string(started.status().message()), usage ? kUsageError : kCannotServe);
  }
  // Shared, because a signal may come during destruction.
  std::shared_ptr<Server> server = *std::move(started);
  signals.Watch([server = std::weak_ptr(server)] {
    if (const auto alive = server.lock()) alive->Wake();
  });

  const bool can_serve = (options.http.empty() || ServeHttp(options, *server, signals)) &&
                         (options.model_file.empty() || ServeModel(options, *server, signals));
  if (can_serve && !signals.requested()) {
    for (const std::string& address : server->addresses()) {
      SayListening("listening on", address);
      Log(LogLevel::kInfo, "ready", {{"address", address}});
    }
    if (!options.http.empty()) {
      SayListening("http listening on", server->WaitForHttp([] { return true; }).value_or(options.http));
    }
  }
  if (can_serve) {
    signals.WaitForStop();
    Log(LogLevel::kInfo, "stopping", {{"grace_period_ms", static_cast<int64_t>(options.grace_period.count())}});
    logitd::server::EndProcessAfter(options.grace_period);
  }
  // Leave the rest of the time to the runners.
  server->Drain(options.grace_period -
                std::min<std::chrono::milliseconds>(options.grace_period / 10, std::chrono::seconds(1)));
  server.reset();
  if (can_serve) Log(LogLevel::kInfo, "stopped");
  logitd::server::EndProcess(can_serve ? 0 : kCannotServe);
}
