// The HTTP side: connections, their bounds, and the checks that every request passes before its body is read.
//
//   HttpServer server(options);
//   server.Route("GET", "/healthz", [](Exchange& exchange) { ... return absl::OkStatus(); });
//   RETURN_IF_ERROR(server.Listen("127.0.0.1", 8000));          // 0: any free port; port() says which
//   server.Serve();                                             // until Stop, from another thread
//
// In this order: the request's framing (400, 411), its Host (403), its path (404), its method (405), the media type and
// size of its body (415, 413), and whether the process still takes requests (503). A body takes its memory out of a
// budget that all requests share, or is 503; before it is parsed, its request waits for the memory that this takes. A
// handler's error is written in OpenAI's shape (request_error.h). There are no CORS headers: a page of another origin
// cannot read replies, nor send application/json.
//
// Built on cpp-httplib, whose own bounds do not hold for chunked bodies, for the number of headers and for slow
// clients: ConnectionStream adds them.
#ifndef LOGITD_CLIENT_HTTP_HTTP_SERVER_H_
#define LOGITD_CLIENT_HTTP_HTTP_SERVER_H_

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "client/http/connection_stream.h"
#include "client/http/memory_budget.h"
#include "client/http/peer_watch.h"

namespace logitd::http {

// A request that passed the checks, with its body, and the reply to it.
struct Exchange {
  const httplib::Request& request;
  httplib::Response& response;
  // A stop is requested when the client leaves, or when the process ends.
  std::stop_token left;
  // Set when the process ends and gives up what is in work. It lives until all replies are written.
  const std::atomic<bool>& is_given_up;
  // The token of "Authorization: Bearer TOKEN". Empty: none.
  std::string bearer;
  // The path behind the "*" of a route: "/v1/models/*".
  std::string rest;

  void ReplyJson(std::string body) { response.set_content(std::move(body), "application/json"); }
  // Server-sent events, written by `provider`. A client of HTTP/1.0 does not know chunks: the end of its connection is
  // the end of the events.
  void ReplyEvents(httplib::ContentProviderWithoutLength provider);
};

using RouteHandler = std::function<absl::Status(Exchange&)>;

class HttpServer final : private httplib::Server {
 public:
  struct Options {
    ConnectionBounds bounds;
    int max_connections = 2048;
    // Bodies in memory at once, beyond 64 KiB of each. Twice as much is there for what is made of them.
    int64_t max_bodies_bytes = int64_t{512} << 20;
    // For which a request may wait for that memory.
    std::chrono::milliseconds max_memory_wait{300'000};
    std::chrono::milliseconds keep_alive{75'000};
    // Names that a request's Host may have, in lower case, without port. Empty: any.
    std::vector<std::string> allowed_hosts;
  };

  explicit HttpServer(Options options);
  ~HttpServer() override = default;

  // `path` may end in "/*". Call it before Serve.
  void Route(const std::string& method, const std::string& path, RouteHandler handler);

  // Errors: kUnavailable.
  absl::Status Listen(const std::string& host, int port);
  int port() const { return port_; }
  // Returns after Stop, when all connections have ended.
  void Serve();

  // Takes no new connections and no new requests; those in work go on. Thread-safe.
  void Stop();
  // Gives up the requests in work: they are answered by 503, and streams end with an event that has this error.
  // Thread-safe.
  void Abandon();

 private:
  struct Found {
    const RouteHandler* handler = nullptr;
    std::string rest;
  };
  class OpenConnection;

  bool process_and_close_socket(int socket) override;
  // The checks. Not OK: the request is refused, without its body being read.
  absl::Status Check(const httplib::Request& request) const;
  absl::Status CheckFraming(const httplib::Request& request) const;
  absl::Status CheckHost(const httplib::Request& request) const;
  absl::Status CheckBody(const httplib::Request& request) const;
  Found FindRoute(const std::string& path, const std::string& method) const;
  // "GET, POST". Empty: there is no such path.
  std::string MethodsOf(const std::string& path) const;
  // Writes the refusal of a request whose body is not read. Not OK: as Check.
  absl::Status Admit(const httplib::Request& request, httplib::Response& response) const;
  // Runs the handler of a request whose body is read.
  void Handle(const httplib::Request& request, httplib::Response& response);
  void SetUpHooks();

  const Options options_;
  // By path, by method.
  std::map<std::string, std::map<std::string, RouteHandler>> routes_;
  int port_ = 0;
  PeerWatch watch_;
  MemoryBudget bodies_;
  MemoryBudget values_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> is_given_up_{false};
  std::mutex mutex_;
  // The sockets of connections that wait for their next request.
  std::unordered_set<int> idle_;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_HTTP_SERVER_H_
