#include "client/http/completion_route.h"

#include <utility>

#include "base/status_macros.h"
#include "client/http/completion_answer.h"
#include "client/http/completion_form.h"
#include "client/http/completion_request.h"
#include "client/http/strict_json.h"

namespace logitd::http {

absl::Status HandleCompletions(Exchange& exchange, Services& services) {
  static const CompletionForm form;
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  ASSIGN_OR_RETURN(CompletionRequest request, ParseCompletionRequest(body));
  return AnswerCompletions(std::move(request), form, exchange, services);
}

}  // namespace logitd::http
