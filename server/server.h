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
#include "server/models/runner_fleet.h"
#include "server/server_options.h"

namespace logitd::server {

// Thread-safe.
class Server {
 public:
  // Errors: INVALID_ARGUMENT for an address that is malformed or not allowed, UNAVAILABLE for one that cannot be bound
  // ("port in use").
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  // Drains, with no time left.
  ~Server();

  // Where clients reach it, with real ports.
  const std::vector<std::string>& addresses() const;
  // Where runners reach it.
  const std::string& runner_address() const;

  // Starts and supervises runners, until the drain. Once. Until one has attached, calls for the model are UNAVAILABLE,
  // not NOT_FOUND.
  void StartRunners(FleetOptions options);
  // How a runner ended before any of them could serve; unset: that has not happened.
  std::optional<std::string> RunnersFailure() const;
  // Blocks until a model of this name is attached (true), its runners have failed, or `give_up()`, which is asked again
  // after Wake().
  bool WaitForModel(const std::string& name, const std::function<bool()>& give_up);
  void Wake();

  // Stops serving: readiness goes off, no call begins, idle streams end with DRAINING at once; running calls have until
  // shortly before `grace_period` ends, then end with DRAINING too, whatever their clients do.
  void Drain(std::chrono::milliseconds grace_period);

 private:
  struct Parts;
  explicit Server(std::unique_ptr<Parts> parts);
  // Whether the model is waited for, and its runners have failed.
  bool IsStartFailing() const;

  const std::unique_ptr<Parts> parts_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_H_
