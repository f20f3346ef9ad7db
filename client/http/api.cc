#include "client/http/api.h"

#include "client/http/chat_route.h"
#include "client/http/completion_route.h"
#include "client/http/decisions_route.h"
#include "client/http/generative_scoring_route.h"
#include "client/http/inspector_routes.h"
#include "client/http/label_score_route.h"
#include "client/http/model_routes.h"
#include "client/http/openapi_route.h"
#include "client/http/systemone_route.h"
#include "client/http/tokenizer_routes.h"

namespace logitd::http {

void Api::AddRoutes(HttpServer& server) {
  AddInspectorRoutes(server);
  using ServiceHandler = absl::Status (*)(Exchange&, Services&);
  const auto route = [&](const char* method, const char* path, ServiceHandler handler) {
    server.Route(method, path, [this, handler](Exchange& exchange) { return handler(exchange, services_); });
  };
  server.Route("GET", "/healthz", HandleHealth);
  // The name that vLLM has for it.
  server.Route("GET", "/health", HandleHealth);
  server.Route("GET", "/openapi.yaml", HandleOpenApi);
  route("GET", "/readyz", HandleReady);
  route("GET", "/v1/models", HandleModels);
  route("GET", "/v1/models/*", HandleModel);
  route("POST", "/v1/completions", HandleCompletions);
  route("POST", "/v1/chat/completions", HandleChat);
  route("POST", "/tokenize", HandleTokenize);
  route("POST", "/detokenize", HandleDetokenize);
  route("GET", "/tokenizer_info", HandleTokenizerInfo);
  route("POST", "/v1/score", HandleLabelScore);
  // The path that vLLM has for it.
  route("POST", "/generative_scoring", HandleGenerativeScoring);
  route("POST", "/v1/decisions", HandleDecisions);
  route("POST", "/v1/systemone", HandleSystemone);
}

}  // namespace logitd::http
