// POST /v1/completions.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_ROUTE_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_ROUTE_H_

#include "absl/status/status.h"
#include "client/http/services.h"

namespace logitd::http {

absl::Status HandleCompletions(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_ROUTE_H_
