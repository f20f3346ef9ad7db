#include "client/http/chat_route.h"

#include <utility>

#include "base/status_macros.h"
#include "client/http/chat_form.h"
#include "client/http/chat_messages.h"
#include "client/http/chat_request.h"
#include "client/http/completion_answer.h"
#include "client/http/request_error.h"
#include "client/http/strict_json.h"

namespace logitd::http {
namespace {

absl::Status SetDefaultMaxTokens(int64_t prompt_token_count, const v1::Provenance& provenance, Services& services,
                                 const Caller& caller, v1::GenerateRequest& request) {
  ASSIGN_OR_RETURN(const v1::ModelInfo model, services.facts.Find(provenance.model(), caller));
  ASSIGN_OR_RETURN(const v1::GetServerInfoResponse server, services.upstream.ServerInfo(caller));
  request.mutable_stop()->set_max_tokens(
      DefaultMaxTokens(request, prompt_token_count, model.context_length(), server.limits()));
  return absl::OkStatus();
}

}  // namespace

absl::Status HandleChat(Exchange& exchange, Services& services) {
  static const ChatForm form;
  ASSIGN_OR_RETURN(const Json body, ParseJson(exchange.request.body));
  ASSIGN_OR_RETURN(ChatRequest request, ParseChatRequest(body));
  const Caller caller = CallerOf(exchange);
  v1::RenderChatRequest render;
  render.set_model(request.completion.model);
  *render.mutable_chat() = std::move(request.chat);
  absl::StatusOr<v1::RenderChatResponse> rendered = services.upstream.RenderChat(render, caller);
  if (!rendered.ok()) return OfRendering(rendered.status(), render.chat());
  v1::GenerateRequest& generate = request.completion.generate;
  if (!generate.stop().has_max_tokens()) {
    RETURN_IF_ERROR(
        SetDefaultMaxTokens(rendered->token_ids_size(), rendered->provenance(), services, caller, generate));
  }
  v1::Input prompt;
  prompt.mutable_tokens()->mutable_token_ids()->Swap(rendered->mutable_token_ids());
  request.completion.prompts.push_back(std::move(prompt));
  return AnswerCompletions(std::move(request.completion), form, exchange, services);
}

}  // namespace logitd::http
