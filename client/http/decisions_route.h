// POST /v1/decisions, in the form of the openai client's decisions.create.
#ifndef LOGITD_CLIENT_HTTP_DECISIONS_ROUTE_H_
#define LOGITD_CLIENT_HTTP_DECISIONS_ROUTE_H_

#include "absl/status/status.h"
#include "client/http/fields.h"
#include "client/http/services.h"

namespace logitd::http {

FieldTable DecisionFields();
FieldTable DecisionQuestionFields();

absl::Status HandleDecisions(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_DECISIONS_ROUTE_H_
