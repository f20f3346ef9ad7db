// The objects that every handler may use. server/server.cc makes the one instance; it lives as long as the server.
#ifndef LOGITD_SERVER_SERVER_ENV_H_
#define LOGITD_SERVER_SERVER_ENV_H_

#include <string>

#include "server/models/model_pool.h"
#include "server/server_options.h"
#include "server/step_workspaces.h"

namespace logitd::server {

struct ServerEnv {
  ModelPool& models;
  StepWorkspaces& workspaces;
  // Version of the program, "MAJOR.MINOR.PATCH".
  std::string version;
  const ServerOptions& options;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_ENV_H_
