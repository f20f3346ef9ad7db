#include "client/http/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <iostream>
#include <vector>

#include "base/address.h"
#include "base/status_macros.h"
#include "client/http/compatibility.h"
#include "client/logitd/options.h"

namespace logitd::http {
namespace {

constexpr char kDefaultListen[] = "127.0.0.1:8000";

constexpr char kExamples[] = R"(
Examples:
  logitd-http                     serve OpenAI's API on 127.0.0.1:8000, with the
                                  models of the logitd on 127.0.0.1:50051
  logitd-http --listen 127.0.0.1:0 --server 10.0.0.7:50051
                                  on any free port; the line "listening on
                                  ADDRESS" says which
  curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json'
    -d '{"prompt": "The capital of France is", "max_tokens": 1, "logprobs": 5}'
  lm-eval run --model local-completions --tasks piqa --model_args
    model=NAME,base_url=http://127.0.0.1:8000/v1/completions,num_concurrent=16

Exit status: 0 stopped in order, 1 cannot serve (port), 2 usage.)";

// Columns of a flag in the help.
constexpr size_t kFlagColumns = 30;

// The flags as they are written.
struct Words {
  std::string listen = kDefaultListen;
  std::string server = client::kDefaultAddress;
  std::vector<std::string> allowed_hosts;
  bool allow_plaintext = false;
  int max_calls = 128;
  int max_queue = 4096;
  double queue_seconds = 300;
  int max_connections = 2048;
  int64_t max_body_bytes = int64_t{16} << 20;
  int64_t max_bodies_bytes = int64_t{512} << 20;
  int keep_alive_seconds = 75;
  double grace_seconds = 30;
};

void AddFlags(CLI::App& app, Words& words) {
  const auto text = [&](const char* flag, std::string& value, const char* name, const char* help) {
    app.add_option(flag, value, help)->type_name(name)->capture_default_str();
  };
  const auto number = [&](const char* flag, auto& value, const char* help, double least, double most) {
    app.add_option(flag, value, help)->type_name("N")->capture_default_str()->check(CLI::Range(least, most));
  };
  text("--listen", words.listen, "ADDRESS", "Address for HTTP clients, HOST:PORT");
  text("--server", words.server, "ADDRESS", "Address of logitd, HOST:PORT or unix:PATH");
  app.add_option("--allowed-host", words.allowed_hosts,
                 "Name that the Host header may have; repeatable. On loopback these are added to localhost, 127.0.0.1 "
                 "and [::1]; "
                 "elsewhere any name is accepted without this flag")
      ->type_name("NAME");
  app.add_flag("--allow-plaintext", words.allow_plaintext, "Listen off loopback without TLS");
  // The server takes 256 calls of one connection, of which some are for tokenising.
  number("--max-calls", words.max_calls, "Calls to the server at once", 1, 200);
  number("--max-queue", words.max_queue, "Calls that wait for their turn; one more gets 503", 0, 1e6);
  number("--queue-seconds", words.queue_seconds, "Longest wait of a call; after it, it gets 503", 1, 86400);
  number("--max-connections", words.max_connections, "Connections at once; one more gets 503", 1, 65536);
  number("--max-body-bytes", words.max_body_bytes, "Bytes of a request's body", 1024, 64 << 20);
  number(
      "--max-bodies-bytes", words.max_bodies_bytes,
      "Bytes of all bodies in memory; beyond that a body gets 503. Twice as much may be made of them; a request waits "
      "for it as in the queue",
      1 << 20, 1e15);
  number("--keep-alive-seconds", words.keep_alive_seconds, "Time for which a connection may wait for its next request",
         1, 86400);
  number("--grace-seconds", words.grace_seconds, "How long requests in work may take to end after SIGTERM", 0, 86400);
}

std::chrono::milliseconds MillisecondsOf(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

absl::StatusOr<Options> ToOptions(const Words& words) {
  const auto with_flag = [](const char* flag, const absl::Status& status) {
    return absl::InvalidArgumentError(std::string(flag) + " " + std::string(status.message()));
  };
  const auto listen = ParseHostAddress(words.listen, PortUse::kListen);
  if (!listen.ok()) return with_flag("--listen", listen.status());
  if (listen->is_unix()) return absl::InvalidArgumentError("--listen must be HOST:PORT, got " + words.listen);
  if (!listen->IsLocal() && !words.allow_plaintext) {
    return absl::InvalidArgumentError("--listen " + words.listen +
                                      " is not on loopback and there is no TLS; --allow-plaintext permits it");
  }
  const auto server = ParseHostAddress(words.server, PortUse::kConnect);
  if (!server.ok()) return with_flag("--server", server.status());
  Options options;
  options.listen_host = listen->host;
  if (options.listen_host.starts_with('[')) options.listen_host = listen->host.substr(1, listen->host.size() - 2);
  options.listen_port = listen->port;
  options.server_address = words.server;
  options.http.bounds.max_body_bytes = words.max_body_bytes;
  options.http.max_connections = words.max_connections;
  options.http.max_bodies_bytes = words.max_bodies_bytes;
  options.http.max_memory_wait = MillisecondsOf(words.queue_seconds);
  options.http.keep_alive = std::chrono::seconds(words.keep_alive_seconds);
  options.http.allowed_hosts = words.allowed_hosts;
  for (std::string& host : options.http.allowed_hosts) {
    std::transform(host.begin(), host.end(), host.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  }
  if (listen->IsLocal()) {
    for (const std::string& host :
         {std::string("localhost"), std::string("127.0.0.1"), std::string("[::1]"), listen->host}) {
      options.http.allowed_hosts.push_back(host);
    }
  }
  options.gate = {words.max_calls, words.max_queue, MillisecondsOf(words.queue_seconds)};
  options.grace_period = MillisecondsOf(words.grace_seconds);
  return options;
}

}  // namespace

ParsedOptions ParseOptions(int argc, char** argv) {
  Words words;
  bool compatibility = false;
  CLI::App app("logitd-http: the API of OpenAI's clients for a logitd server.", "logitd-http");
  app.footer(kExamples);
  app.get_formatter()->column_width(kFlagColumns);
  app.set_version_flag("--version", std::string("logitd-http ") + LOGITD_VERSION);
  app.add_flag("--compatibility", compatibility, "Print the tables of fields of docs/openai.md, and end");
  AddFlags(app, words);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    app.exit(wanted);
    return {std::nullopt, 0};
  } catch (const CLI::ParseError& error) {
    std::cerr << "logitd-http: " << error.what() << "; `logitd-http --help` lists the flags\n";
    return {std::nullopt, kUsageError};
  }
  if (compatibility) {
    std::cout << CompatibilityTables();
    return {std::nullopt, 0};
  }
  auto options = ToOptions(words);
  if (options.ok()) return {*std::move(options), 0};
  std::cerr << "logitd-http: " << options.status().message() << "\n";
  return {std::nullopt, kUsageError};
}

}  // namespace logitd::http
