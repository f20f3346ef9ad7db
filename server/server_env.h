// What every handler may use. Made once, in server/server.cc; lives as long as the server.
#ifndef LOGITD_SERVER_SERVER_ENV_H_
#define LOGITD_SERVER_SERVER_ENV_H_

#include <string>

#include "server/models/model_pool.h"

namespace logitd::server {

struct ServerEnv {
  ModelPool& models;
  // Version of the program, "MAJOR.MINOR.PATCH".
  std::string version;
  // Instruction set of the kernels in use.
  std::string kernel_target;
};

// Minor version of package logitd.v1; every addition to the .proto files raises it.
inline constexpr int kApiMinorVersion = 1;

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_ENV_H_
