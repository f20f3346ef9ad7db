// What every handler may use. Made once, in server/server.cc; lives as long as the server.
#ifndef LOGITD_SERVER_SERVER_ENV_H_
#define LOGITD_SERVER_SERVER_ENV_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "core/limits.h"
#include "server/models/model_pool.h"
#include "server/step_workspaces.h"

namespace logitd::server {

// Limits that differ between servers; the others are constants of core/limits.h.
struct ServerSettings {
  std::chrono::milliseconds max_idle{kMaxIdleMs};
  std::chrono::milliseconds max_stall{kMaxStallMs};
  int32_t max_calls = kMaxCalls;
  int32_t max_open_streams = kMaxOpenStreams;
  int32_t max_watches = kMaxWatches;
  int64_t max_bytes_in_work = kMaxBytesInWork;
};

struct ServerEnv {
  ModelPool& models;
  StepWorkspaces& workspaces;
  // Version of the program, "MAJOR.MINOR.PATCH".
  std::string version;
  ServerSettings settings;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_ENV_H_
