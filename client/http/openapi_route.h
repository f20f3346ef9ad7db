// GET /openapi.yaml: docs/openapi.yaml, as it was when the program was built.
#ifndef LOGITD_CLIENT_HTTP_OPENAPI_ROUTE_H_
#define LOGITD_CLIENT_HTTP_OPENAPI_ROUTE_H_

#include "absl/status/status.h"
#include "client/http/http_server.h"

namespace logitd::http {

absl::Status HandleOpenApi(Exchange& exchange);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_OPENAPI_ROUTE_H_
