// The objects that all handlers share; each is thread-safe. server/server.cc makes the only instance, which lives as
// long as the server and owns none of them.
#ifndef LOGITD_SERVER_SERVER_ENV_H_
#define LOGITD_SERVER_SERVER_ENV_H_

#include <string>

#include "server/fit_slots.h"
#include "server/models/heads.h"
#include "server/models/model_pool.h"
#include "server/models/record_cache.h"
#include "server/server_options.h"
#include "server/step_workspaces.h"

namespace logitd::server {

struct ServerEnv {
  ModelPool& models;
  // The records of rows that models have evaluated.
  RecordCache& records;
  StepWorkspaces& workspaces;
  // Layers that make logits of hidden states.
  const Heads& heads;
  FitSlots& fits;
  // The server's version, "MAJOR.MINOR.PATCH".
  std::string version;
  const ServerOptions& options;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_ENV_H_
