// What handlers work with.
#ifndef LOGITD_CLIENT_HTTP_SERVICES_H_
#define LOGITD_CLIENT_HTTP_SERVICES_H_

#include "client/http/http_server.h"
#include "client/http/model_facts.h"
#include "client/http/upstream.h"

namespace logitd::http {

struct Services {
  Upstream& upstream;
  ModelFacts& facts;
};

inline Caller CallerOf(const Exchange& exchange) { return {exchange.bearer, exchange.left}; }

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_SERVICES_H_
