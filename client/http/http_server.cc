#include "client/http/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "client/http/connection_threads.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// Connections that the system holds until they are accepted: a harness opens a thousand at once. cpp-httplib asks for
// 5, and a client that is turned away tries again only after a second.
constexpr int kBacklog = 4096;
// Stated in each reply, and not enforced.
constexpr size_t kRequestsPerConnection = 1'000'000;
// gRPC's limit on all metadata of a call is 16 KiB.
constexpr size_t kMaxBearerBytes = 8192;
// The time for which a refused client's body is still read and dropped; and for which it is if others wait to be
// refused.
constexpr std::chrono::milliseconds kLingerTime{1000};
constexpr std::chrono::milliseconds kShortLingerTime{10};
// A request that costs at most so much does not wait for memory: with so little, the number of connections is the
// bound.
constexpr int64_t kFreeRequestBytes = 256 << 10;

// The connection and, once it is checked, the request that this thread works on. cpp-httplib's hooks know neither.
struct Current {
  explicit Current(MemoryBudget& values) : values_lease(&values) {}
  ConnectionStream* stream = nullptr;
  std::stop_source left;
  // These go after the reply is written.
  MemoryBudget::Lease values_lease;
  std::optional<PeerWatch::Registration> registration;
};
thread_local Current* current = nullptr;

std::string LowerCase(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// What the client sent, for an error: printable ASCII, cut short.
std::string Shown(std::string_view text) {
  constexpr size_t kMaxShownBytes = 100;
  std::string out;
  for (const char c : text.substr(0, kMaxShownBytes)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

// "localhost:8000" -> "localhost", "[::1]:8000" -> "[::1]".
std::string HostWithoutPort(std::string_view host) {
  const size_t after = host.starts_with('[') ? host.find(']') : 0;
  const size_t colon = host.find(':', after == std::string_view::npos ? 0 : after);
  const std::string_view port = colon == std::string_view::npos ? "" : host.substr(colon + 1);
  // "localhost:80@evil.example" is not this machine.
  if (!std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; })) return std::string(host);
  return LowerCase(host.substr(0, colon));
}

// The parts of a request's target, which may be absolute: "http://localhost:8000/v1/models".
struct TargetParts {
  // Unset: the target is a path.
  std::optional<std::string> host;
  std::string path;
};

TargetParts PartsOf(const httplib::Request& request) {
  constexpr std::string_view kScheme = "http://";
  const std::string& path = request.path;
  if (LowerCase(path.substr(0, kScheme.size())) != kScheme) return {std::nullopt, path};
  const size_t slash = std::min(path.find('/', kScheme.size()), path.size());
  return {path.substr(kScheme.size(), slash - kScheme.size()), slash == path.size() ? "/" : path.substr(slash)};
}

// The token of "Bearer TOKEN". "Bearer " with nothing behind it is none. Errors: another scheme, or a token that is no
// metadata of gRPC.
absl::StatusOr<std::string> BearerOf(const httplib::Request& request) {
  constexpr std::string_view kScheme = "bearer";
  const std::string header = request.get_header_value("Authorization");
  if (header.empty()) return std::string();
  const size_t space = std::min(header.find(' '), header.size());
  if (LowerCase(header.substr(0, space)) != kScheme) {
    return HttpError(401, "unsupported_authorization", "", "the Authorization header must be: Bearer TOKEN");
  }
  std::string token = header.substr(space);
  token.erase(0, token.find_first_not_of(' '));
  while (token.ends_with(' ')) token.pop_back();
  const bool is_printable = std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!is_printable || token.size() > kMaxBearerBytes) {
    return HttpError(401, "invalid_token", "", "the Bearer token must be at most 8192 printable ASCII characters");
  }
  return token;
}

void WriteError(const absl::Status& status, httplib::Response& response) {
  const ApiError error = ApiErrorOf(status);
  response.status = error.status;
  if (error.retry_after) response.set_header("Retry-After", std::to_string(error.retry_after->count()));
  if (error.status == 401) response.set_header("WWW-Authenticate", "Bearer");
  response.set_content(ErrorBody(error), "application/json");
}

// What cpp-httplib itself refuses, in the shape of other errors.
absl::Status ErrorOfStatus(int status) {
  switch (status) {
    case 408:
      return HttpError(status, "request_timeout", "", "the request did not arrive in time");
    case 413:
      return HttpError(status, "body_too_large", "", "the body is too large");
    case 414:
      return HttpError(status, "target_too_long", "", "the request's target is too long");
    case 431:
      return HttpError(status, "headers_too_large", "", "the request's headers are too large");
    case 404:
      return HttpError(status, "not_found", "", "there is no such path");
    case 503:
      return Overloaded(
          "the bodies of the requests in work take all memory that there is for them (--max-bodies-bytes)");
    case 500:
      return HttpError(status, "internal", "", "an error in logitd-http");
    default:
      return HttpError(status, "malformed_request", "", "the request is malformed");
  }
}

// REQUIRES: the framing is checked.
bool HasBody(const httplib::Request& request) {
  const std::string length = request.get_header_value("Content-Length");
  return request.has_header("Transfer-Encoding") || length.find_first_not_of('0') != std::string::npos;
}

// A reply to a connection that has no request that cpp-httplib could answer.
void WriteRefusal(const absl::Status& status, ConnectionStream& stream) {
  const ApiError error = ApiErrorOf(status);
  const std::string body = ErrorBody(error);
  std::string reply = "HTTP/1.1 " + std::to_string(error.status) + " Refused\r\nContent-Type: application/json\r\n";
  if (error.retry_after) reply += "Retry-After: " + std::to_string(error.retry_after->count()) + "\r\n";
  reply += "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  stream.write(reply.data(), reply.size());
}

}  // namespace

void Exchange::ReplyEvents(httplib::ContentProviderWithoutLength provider) {
  constexpr char kType[] = "text/event-stream";
  if (request.version != "HTTP/1.0") return response.set_chunked_content_provider(kType, std::move(provider));
  response.set_content_provider(kType, std::move(provider));
  response.set_header("Connection", "close");
  current->stream->set_must_close();
}

// The bookkeeping of one connection: whether it waits for a request.
class HttpServer::OpenConnection {
 public:
  OpenConnection(HttpServer& server, int socket) : server_(server), socket_(socket) {}
  ~OpenConnection() { SetIdle(false); }
  // False: the process is about to end, and takes no further request.
  bool SetIdle(bool is_idle) {
    std::lock_guard lock(server_.mutex_);
    if (is_idle && server_.stopping_) return false;
    if (is_idle) {
      server_.idle_.insert(socket_);
    } else {
      server_.idle_.erase(socket_);
    }
    return true;
  }

 private:
  HttpServer& server_;
  const int socket_;
};

HttpServer::HttpServer(Options options)
    : options_(std::move(options)), bodies_(options_.max_bodies_bytes), values_(2 * options_.max_bodies_bytes) {
  new_task_queue = [this] { return new ConnectionThreads(options_.max_connections); };
  set_tcp_nodelay(true);
  // cpp-httplib's own options would let two processes share a port without a word.
  set_socket_options([](int socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  set_payload_max_length(static_cast<size_t>(options_.bounds.max_body_bytes));
  set_keep_alive_max_count(kRequestsPerConnection);
  set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(options_.keep_alive).count());
  SetUpHooks();
}

void HttpServer::SetUpHooks() {
  set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    return Admit(request, response).ok() ? HandlerResponse::Unhandled : HandlerResponse::Handled;
  });
  set_expect_100_continue_handler([this](const httplib::Request& request, httplib::Response& response) {
    return Admit(request, response).ok() ? 100 : response.status;
  });
  set_error_handler(HandlerWithResponse([](const httplib::Request&, httplib::Response& response) {
    // "Handled" makes cpp-httplib state the body's length.
    if (!response.body.empty()) return HandlerResponse::Handled;
    const int refusal = current->stream->refusal();
    current->stream->set_must_close();
    response.set_header("Connection", "close");
    WriteError(ErrorOfStatus(refusal != 0 ? refusal : response.status), response);
    return HandlerResponse::Handled;
  }));
  set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
    WriteError(ErrorOfStatus(500), response);
  });
  // Check has found the route; cpp-httplib's own routing has only these.
  const auto handle = [this](const httplib::Request& request, httplib::Response& response) {
    Handle(request, response);
  };
  Get(".*", handle);
  Post(".*", handle);
}

void HttpServer::Route(const std::string& method, const std::string& path, RouteHandler handler) {
  routes_[path][method] = std::move(handler);
}

absl::Status HttpServer::Listen(const std::string& host, int port) {
  errno = 0;
  const bool is_bound = port == 0 ? (port_ = bind_to_any_port(host)) > 0 : bind_to_port(host, port_ = port);
  if (!is_bound) {
    return absl::UnavailableError("cannot listen on " + host + ":" + std::to_string(port) + ": " +
                                  (errno == 0 ? "the address cannot be used" : std::strerror(errno)));
  }
  ::listen(svr_sock_, kBacklog);
  return absl::OkStatus();
}

void HttpServer::Serve() { listen_after_bind(); }

void HttpServer::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    // They wake up and end.
    for (const int socket : idle_) ::shutdown(socket, SHUT_RD);
  }
  // Ends the loop that accepts. cpp-httplib's own stop() would also cut off streams.
  ::shutdown(svr_sock_, SHUT_RDWR);
}

void HttpServer::Abandon() {
  is_given_up_ = true;
  watch_.StopAll();
}

bool HttpServer::process_and_close_socket(int socket) {
  {
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ConnectionStream stream(socket, options_.bounds, &bodies_);
    if (ConnectionThreads::IsRefusing()) {
      WriteRefusal(Overloaded("there are too many connections: at most " + std::to_string(options_.max_connections) +
                              " at once"),
                   stream);
    } else {
      OpenConnection connection(*this, socket);
      bool is_open = true;
      // A connection that has never sent anything has no more time than a request's headers.
      std::chrono::milliseconds patience = std::min(options_.keep_alive, options_.bounds.header_time);
      while (is_open && connection.SetIdle(true) && stream.WaitForRequest(patience)) {
        patience = options_.keep_alive;
        connection.SetIdle(false);
        stream.BeginRequest();
        Current state(values_);
        state.stream = &stream;
        current = &state;
        bool closed_by_client = false;
        const bool is_answered = process_request(stream, stopping_, closed_by_client, [](httplib::Request& request) {
          // Replies are neither cut into ranges nor compressed.
          request.ranges.clear();
          request.headers.erase("Range");
          request.headers.erase("Accept-Encoding");
        });
        current = nullptr;
        stream.EndRequest();
        // A request whose first line does not end has no reply yet.
        if (!is_answered && stream.refusal() != 0) WriteRefusal(ErrorOfStatus(stream.refusal()), stream);
        is_open = is_answered && !closed_by_client && !stream.must_close();
      }
    }
    stream.LingerAndShutDown(ConnectionThreads::IsAnotherWaiting() ? kShortLingerTime : kLingerTime);
  }
  ::close(socket);
  return true;
}

HttpServer::Found HttpServer::FindRoute(const std::string& path, const std::string& method) const {
  for (const auto& [pattern, methods] : routes_) {
    const bool is_prefix = pattern.ends_with("/*");
    const std::string_view prefix = std::string_view(pattern).substr(0, pattern.size() - (is_prefix ? 1 : 0));
    if (is_prefix ? !path.starts_with(prefix) || path.size() == prefix.size() : path != prefix) continue;
    // HEAD is answered as GET is, without the body.
    const auto found = methods.find(method == "HEAD" ? "GET" : method);
    return {found == methods.end() ? nullptr : &found->second, path.substr(is_prefix ? prefix.size() : path.size())};
  }
  return {};
}

std::string HttpServer::MethodsOf(const std::string& path) const {
  std::string methods;
  for (const char* method : {"GET", "POST"}) {
    if (FindRoute(path, method).handler == nullptr) continue;
    methods += (methods.empty() ? "" : ", ") + std::string(method);
    // The library answers HEAD as it answers GET.
    if (std::string_view(method) == "GET") methods += ", HEAD";
  }
  return methods;
}

absl::Status HttpServer::Admit(const httplib::Request& request, httplib::Response& response) const {
  absl::Status status = Check(request);
  if (status.ok()) return status;
  // Its body is not read.
  current->stream->set_must_close();
  response.set_header("Connection", "close");
  WriteError(status, response);
  if (response.status == 405) response.set_header("Allow", MethodsOf(PartsOf(request).path));
  return status;
}

absl::Status HttpServer::Check(const httplib::Request& request) const {
  RETURN_IF_ERROR(CheckFraming(request));
  RETURN_IF_ERROR(CheckHost(request));
  const std::string path = PartsOf(request).path;
  const Found found = FindRoute(path, request.method);
  if (found.handler == nullptr) {
    const std::string methods = MethodsOf(path);
    if (methods.empty())
      return HttpError(404, "not_found", "", "there is no path " + Shown(path) + "; GET /openapi.yaml lists them");
    return HttpError(405, "method_not_allowed", "", "this path takes " + methods);
  }
  if (request.method == "POST") {
    RETURN_IF_ERROR(CheckBody(request));
  } else if (HasBody(request)) {
    return HttpError(400, "malformed_request", "", request.method + " takes no body");
  }
  if (stopping_) return Overloaded("logitd-http is about to end");
  return absl::OkStatus();
}

absl::Status HttpServer::CheckFraming(const httplib::Request& request) const {
  // Two readers of a request with two lengths see two requests: such a request is never acted on.
  const size_t lengths = request.get_header_value_count("Content-Length");
  const size_t encodings = request.get_header_value_count("Transfer-Encoding");
  const std::string length = request.get_header_value("Content-Length");
  const bool is_number = !length.empty() && length.size() < 16 &&
                         std::all_of(length.begin(), length.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (lengths + encodings > 1 || (lengths == 1 && !is_number) ||
      (encodings == 1 && LowerCase(request.get_header_value("Transfer-Encoding")) != "chunked")) {
    return HttpError(400, "malformed_request", "", "the length of the request's body is not clear");
  }
  if (request.method == "POST" && lengths + encodings == 0) {
    return HttpError(411, "length_required", "", "a POST needs a Content-Length");
  }
  return absl::OkStatus();
}

absl::Status HttpServer::CheckHost(const httplib::Request& request) const {
  if (request.get_header_value_count("Host") > 1) {
    return HttpError(400, "malformed_request", "", "the request has two Host headers");
  }
  if (options_.allowed_hosts.empty()) return absl::OkStatus();
  // An absolute target names the host instead of the header (RFC 9112, 3.2.2).
  const std::string host = HostWithoutPort(PartsOf(request).host.value_or(request.get_header_value("Host")));
  for (const std::string& allowed : options_.allowed_hosts) {
    if (host == allowed) return absl::OkStatus();
  }
  // A page whose name was pointed at this machine sends its own name.
  return HttpError(403, "host_not_allowed", "",
                   "the Host header must name this server: see --allowed-host of logitd-http");
}

absl::Status HttpServer::CheckBody(const httplib::Request& request) const {
  std::string type = LowerCase(request.get_header_value("Content-Type"));
  const std::string parameters = type.substr(std::min(type.find(';'), type.size()));
  type.resize(std::min(type.find(';'), type.size()));
  while (type.ends_with(' ')) type.pop_back();
  const size_t charset = parameters.find("charset=");
  const bool is_utf8 = charset == std::string::npos || parameters.substr(charset).find("utf-8") != std::string::npos;
  if (type != "application/json" || !is_utf8) {
    return HttpError(415, "unsupported_media_type", "",
                     "the Content-Type must be application/json, in UTF-8, got " +
                         (type.empty() ? "none" : Shown(type + parameters)));
  }
  // A small compressed body may have a huge content.
  if (request.has_header("Content-Encoding") && request.get_header_value("Content-Encoding") != "identity") {
    return HttpError(415, "unsupported_content_encoding", "", "compressed bodies are not accepted");
  }
  const int64_t length = std::atoll(request.get_header_value("Content-Length").c_str());
  if (length > options_.bounds.max_body_bytes) {
    return HttpError(413, "body_too_large", "",
                     "the body has " + std::to_string(length) + " bytes, at most " +
                         std::to_string(options_.bounds.max_body_bytes) + " are accepted (--max-body-bytes)");
  }
  return absl::OkStatus();
}

void HttpServer::Handle(const httplib::Request& request, httplib::Response& response) {
  const Found found = FindRoute(PartsOf(request).path, request.method);
  const auto run = [&]() -> absl::Status {
    if (static_cast<int64_t>(request.body.size()) > options_.bounds.max_body_bytes) return ErrorOfStatus(413);
    Exchange exchange{request, response, current->left.get_token(), is_given_up_, "", found.rest};
    ASSIGN_OR_RETURN(exchange.bearer, BearerOf(request));
    current->registration.emplace(watch_, current->stream->descriptor(), current->left);
    const int64_t cost = request.body.empty() ? 0 : JsonCost(request.body);
    if (cost > kFreeRequestBytes) {
      RETURN_IF_ERROR(
          current->values_lease.GrowTo(cost, MemoryBudget::Clock::now() + options_.max_memory_wait, exchange.left));
    }
    return (*found.handler)(exchange);
  };
  response.set_header("Cache-Control", "no-store");
  absl::Status status = run();
  if (status.code() == absl::StatusCode::kCancelled && is_given_up_) status = GivenUp();
  if (!status.ok()) WriteError(status, response);
  if (stopping_) {
    current->stream->set_must_close();
    response.set_header("Connection", "close");
  }
}

}  // namespace logitd::http
