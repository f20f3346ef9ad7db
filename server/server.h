// The server: listeners, services, health, drain.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Server> server, Server::Start({.listen = {"127.0.0.1:0"}}));
//   server->addresses();  // {"127.0.0.1:43121"}
//   server->Drain(10s);
#ifndef LOGITD_SERVER_SERVER_H_
#define LOGITD_SERVER_SERVER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http_child.h"
#include "server/models/heads.h"
#include "server/models/runner_fleet.h"
#include "server/server_options.h"

namespace logitd::server {

// Thread-safe.
class Server {
 public:
  // Errors: INVALID_ARGUMENT for an address that is malformed or not allowed, UNAVAILABLE for one that cannot be bound
  // ("port in use").
  // `heads`: the layers that requests and runners may name. `private_listen`: serves clients on a socket in a private
  // directory, too, for programs that this process starts.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Heads heads = Heads(),
                                                       bool private_listen = false);
  // Drains without a grace period.
  ~Server();

  // The addresses for clients, with the ports that were bound.
  const std::vector<std::string>& addresses() const;
  // The address for runners.
  const std::string& runner_address() const;
  // The address of `private_listen`. Empty: none.
  const std::string& private_address() const;

  // Starts runners and supervises them until the drain. Call it at most once. Until a runner has attached, calls for
  // its model are UNAVAILABLE, not NOT_FOUND.
  void StartRunners(FleetOptions options);
  // How a runner ended, if one ended before any runner could serve.
  std::optional<std::string> RunnersFailure() const;
  // Blocks until a model of this name is attached (true), or its runners have failed or give_up() holds (false). Calls
  // give_up() again after Wake().
  bool WaitForModel(const std::string& name, const std::function<bool()>& give_up);
  void Wake();

  // Starts logitd-http and supervises it until the drain. Call it at most once.
  void StartHttp(HttpChildOptions options);
  // Blocks until it listens, and returns its address. Unset: it has ended before, or give_up() holds. Calls give_up()
  // again after Wake().
  std::optional<std::string> WaitForHttp(const std::function<bool()>& give_up);
  // How it ended, if it ended before it could listen for the first time.
  std::optional<std::string> HttpFailure() const;

  // Stops serving. Readiness goes off. Then logitd-http ends: its requests in work may make new calls until it has.
  // After that no call begins, and idle streams end with DRAINING at once. Running calls have until shortly before the
  // end of `grace_period`; then they end with DRAINING, too, whatever their clients do.
  void Drain(std::chrono::milliseconds grace_period);

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  // Whether somebody waits for the model while its runners have failed.
  bool IsStartFailing() const;

  const std::unique_ptr<Parts> parts_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_H_
