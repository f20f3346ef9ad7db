// logitd-http: serves OpenAI's API in front of a logitd server until SIGTERM or SIGINT.
#include <google/protobuf/stubs/logging.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "client/http/api.h"
#include "client/http/http_server.h"
#include "client/http/options.h"
#include "client/http/upstream.h"
#include "client/logitd/connection.h"

namespace {

sigset_t StopSignals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  return signals;
}

// A signal within this time of the first is the same request to stop: GNU timeout sends its signal twice.
constexpr std::chrono::seconds kSameRequest{1};

// Waits for a signal that asks for an end. A later one has its default effect, and ends the process at once.
int WaitForStopSignal() {
  const sigset_t signals = StopSignals();
  int signal = 0;
  ::sigwait(&signals, &signal);
  std::thread([signals] {
    std::this_thread::sleep_for(kSameRequest);
    const timespec at_once{};
    while (::sigtimedwait(&signals, nullptr, &at_once) > 0) {
    }
    ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    while (true) ::pause();
  }).detach();
  return signal;
}

void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  // Threads that start later inherit it.
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

// Raises the limit of open files, because each connection is one. The default of 1024 is for programs with select().
void AllowAllFiles() {
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

int Fail(const absl::Status& status) {
  std::cerr << "logitd-http: " << status.message() << "\n";
  return logitd::http::kCannotServe;
}

}  // namespace

int main(int argc, char** argv) {
  BlockStopSignals();
  AllowAllFiles();
  // Failed connections are answers of this process, and not lines of gRPC.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  google::protobuf::SetLogHandler(nullptr);
  const logitd::http::ParsedOptions parsed = logitd::http::ParseOptions(argc, argv);
  if (!parsed.options) return parsed.exit_status;
  const logitd::http::Options& options = *parsed.options;

  auto connection = logitd::client::Dial({.address = options.server_address});
  if (!connection.ok()) return Fail(connection.status());
  logitd::http::Api api(std::make_unique<logitd::http::Upstream>(*std::move(connection), options.gate));
  logitd::http::HttpServer server(options.http);
  api.AddRoutes(server);
  if (const absl::Status status = server.Listen(options.listen_host, options.listen_port); !status.ok()) {
    return Fail(status);
  }
  std::thread serving([&server] { server.Serve(); });
  const bool is_v6 = options.listen_host.find(':') != std::string::npos;
  std::cout << "listening on " << (is_v6 ? "[" + options.listen_host + "]" : options.listen_host) << ":"
            << server.port() << std::endl;
  std::cerr << "logitd-http: the server is " << options.server_address << "\n";

  const int signal = WaitForStopSignal();
  std::cerr << "logitd-http: " << (signal == SIGTERM ? "SIGTERM" : "SIGINT") << ": requests in work may end\n";
  server.Stop();
  // Gives up whatever is left when the grace period has passed.
  std::mutex mutex;
  std::condition_variable ended;
  bool has_ended = false;
  std::thread guard([&] {
    std::unique_lock lock(mutex);
    if (!ended.wait_for(lock, options.grace_period, [&] { return has_ended; })) server.Abandon();
  });
  serving.join();
  {
    std::lock_guard lock(mutex);
    has_ended = true;
  }
  ended.notify_all();
  guard.join();
  std::cerr << "logitd-http: stopped\n";
  return 0;
}
