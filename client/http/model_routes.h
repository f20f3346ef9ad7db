// GET /v1/models, /v1/models/NAME, /healthz, /readyz.
#ifndef LOGITD_CLIENT_HTTP_MODEL_ROUTES_H_
#define LOGITD_CLIENT_HTTP_MODEL_ROUTES_H_

#include "absl/status/status.h"
#include "client/http/services.h"

namespace logitd::http {

absl::Status HandleModels(Exchange& exchange, Services& services);
absl::Status HandleModel(Exchange& exchange, Services& services);
// The process answers.
absl::Status HandleHealth(Exchange& exchange);
// The server takes calls. Else 503.
absl::Status HandleReady(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_MODEL_ROUTES_H_
