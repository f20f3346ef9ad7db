#include "client/http/api.h"

#include <string>
#include <string_view>

#include "base/status_macros.h"
#include "client/http/chat_route.h"
#include "client/http/completion_route.h"
#include "client/http/decisions_route.h"
#include "client/http/fields.h"
#include "client/http/generative_scoring_route.h"
#include "client/http/inspector_routes.h"
#include "client/http/label_score_route.h"
#include "client/http/model_routes.h"
#include "client/http/openapi_route.h"
#include "client/http/request_error.h"
#include "client/http/systemone_route.h"
#include "client/http/tokenizer_routes.h"

namespace logitd::http {
namespace {

// `known`: the one parameter of the query that the path has. Empty: it has none.
absl::Status CheckQuery(const httplib::Request& request, std::string_view known) {
  for (const auto& [name, value] : request.params) {
    const std::string shown = ShownName(name);
    if (name != known) {
      return HttpError(400, "unknown_parameter", shown,
                       "unknown query parameter " + shown + ": parameters are never ignored without a word");
    }
    if (request.get_param_value_count(name) > 1) return InvalidValue(shown, "must stand in the query once");
  }
  return absl::OkStatus();
}

}  // namespace

void Api::AddRoutes(HttpServer& server) {
  AddInspectorRoutes(server);
  using ServiceHandler = absl::Status (*)(Exchange&, Services&);
  const auto route = [&](const char* method, const char* path, ServiceHandler handler, const char* query = "") {
    server.Route(method, path, [this, handler, query](Exchange& exchange) -> absl::Status {
      RETURN_IF_ERROR(CheckQuery(exchange.request, query));
      return handler(exchange, services_);
    });
  };
  server.Route("GET", "/healthz", HandleHealth);
  // The name that vLLM has for it.
  server.Route("GET", "/health", HandleHealth);
  server.Route("GET", "/openapi.yaml", HandleOpenApi);
  // Probes may have any query.
  server.Route("GET", "/readyz", [this](Exchange& exchange) { return HandleReady(exchange, services_); });
  route("GET", "/v1/models", HandleModels);
  route("GET", "/v1/models/*", HandleModel);
  route("POST", "/v1/completions", HandleCompletions);
  route("POST", "/v1/chat/completions", HandleChat);
  route("POST", "/tokenize", HandleTokenize);
  route("POST", "/detokenize", HandleDetokenize);
  route("GET", "/tokenizer_info", HandleTokenizerInfo, "model");
  route("POST", "/v1/score", HandleLabelScore);
  // The path that vLLM has for it.
  route("POST", "/generative_scoring", HandleGenerativeScoring);
  route("POST", "/v1/decisions", HandleDecisions);
  route("POST", "/v1/systemone", HandleSystemone);
}

}  // namespace logitd::http
