// The objects that every call needs besides its handler. server/server.cc makes the one instance.
#ifndef LOGITD_SERVER_SERVICES_CALL_ENV_H_
#define LOGITD_SERVER_SERVICES_CALL_ENV_H_

#include "server/admission.h"
#include "server/server_env.h"
#include "server/services/connection_calls.h"
#include "server/services/open_calls.h"
#include "server/worker_threads.h"

namespace logitd::server {

struct CallEnv {
  ServerEnv& server;
  Admission& admission;
  ConnectionCalls& connections;
  OpenCalls& open_calls;
  WorkerThreads& workers;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_CALL_ENV_H_
