#include "client/http/prompt_parts.h"

#include <optional>
#include <utility>

#include "base/status_macros.h"

namespace logitd::http {
namespace {

// The BOS that the server puts before the prompt. Unset: it puts none.
absl::StatusOr<std::optional<int32_t>> AddedBos(const CompletionRequest& request, const v1::Input& prompt,
                                                const v1::Provenance& provenance, Services& services,
                                                const Caller& caller) {
  const bool may_add =
      prompt.input_case() == v1::Input::kText && !request.generate.tokenization().has_add_special_tokens();
  if (!may_add) return std::nullopt;
  ASSIGN_OR_RETURN(const v1::ModelInfo model, services.facts.Find(provenance.model(), caller));
  if (!model.adds_bos() || !model.has_bos_token_id()) return std::nullopt;
  return std::optional<int32_t>(model.bos_token_id());
}

absl::StatusOr<std::string> TextOfIds(const v1::TokenIds& ids, const std::string& model, Services& services,
                                      const Caller& caller) {
  v1::DetokenizeRequest request;
  request.set_model(model);
  *request.add_tokens() = ids;
  request.set_render_special_tokens(true);
  ASSIGN_OR_RETURN(const v1::DetokenizeResponse response, services.upstream.Detokenize(request, caller));
  return response.texts(0).text();
}

absl::StatusOr<std::vector<int32_t>> IdsOfText(const std::string& text, const CompletionRequest& request,
                                               const std::string& model, Services& services, const Caller& caller) {
  v1::TokenizeRequest tokenize;
  tokenize.set_model(model);
  tokenize.add_texts(text);
  *tokenize.mutable_tokenization() = request.generate.tokenization();
  ASSIGN_OR_RETURN(const v1::TokenizeResponse response, services.upstream.Tokenize(tokenize, caller));
  return std::vector<int32_t>(response.texts(0).token_ids().begin(), response.texts(0).token_ids().end());
}

}  // namespace

absl::StatusOr<PromptParts> PromptPartsOf(const CompletionRequest& request, const v1::Input& prompt,
                                          v1::ScoredPrompt tokens, const v1::Provenance& provenance,
                                          const TokenTexts& texts, Services& services, const Caller& caller) {
  PromptParts parts;
  parts.tokens = std::move(tokens);
  const bool is_text = prompt.input_case() == v1::Input::kText;
  const bool has_records = parts.tokens.tokens_size() > 0;
  if (request.echo && has_records) {
    ASSIGN_OR_RETURN(const std::optional<int32_t> bos, AddedBos(request, prompt, provenance, services, caller));
    parts.echo = EchoOf(prompt, parts.tokens, bos, texts);
  } else if (request.echo) {
    parts.echo.emplace();
    if (is_text) {
      parts.echo->text = prompt.text();
    } else {
      ASSIGN_OR_RETURN(parts.echo->text, TextOfIds(prompt.tokens(), provenance.model(), services, caller));
    }
  }
  if (!request.return_token_ids) return parts;
  if (!is_text) {
    parts.token_ids.assign(prompt.tokens().token_ids().begin(), prompt.tokens().token_ids().end());
  } else if (has_records) {
    for (const v1::TokenRecord& record : parts.tokens.tokens()) parts.token_ids.push_back(record.token_id());
  } else {
    ASSIGN_OR_RETURN(parts.token_ids, IdsOfText(prompt.text(), request, provenance.model(), services, caller));
  }
  return parts;
}

}  // namespace logitd::http
