#include "server/handlers/tokenize.h"

#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/model.h"
#include "server/converters/wire.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/provenance.h"
#include "server/handlers/spelling.h"

namespace logitd::server {

absl::Status Tokenize(const v1::TokenizeRequest& request, const ServerEnv& env, const RequestContext& context,
                      v1::TokenizeResponse& response) {
  if (request.texts().empty()) return errors::Required("texts");
  if (request.texts_size() > kMaxItems) {
    return errors::AboveLimit("texts", request.texts_size(), kMaxItems, 1);
  }
  int64_t bytes = 0;
  for (const std::string& text : request.texts()) bytes += static_cast<int64_t>(text.size());
  if (bytes > kMaxTextBytes) {
    return errors::AboveLimit("texts", bytes, kMaxTextBytes, 0, "bytes");
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  const TokenizationOptions options = FromProto(request.tokenization());
  ASSIGN_OR_RETURN(const auto lists,
                   model->Tokenize({request.texts().begin(), request.texts().end()}, options, context));
  ASSIGN_OR_RETURN(Spelling spelling, Spelling::Of(*model, options, context));
  for (const std::vector<TokenId>& ids : lists) {
    const std::string& asked = request.texts(response.texts_size());
    v1::TokenizedText& text = *response.add_texts();
    text.mutable_token_ids()->Add(ids.begin(), ids.end());
    RETURN_IF_ERROR(spelling.Learn(ids, context));
    const v1::TokenizationReport report = ReportText(spelling, model->description(), options, asked, ids);
    if (HasReport(report)) *text.mutable_tokenization() = report;
    if (!request.token_bytes()) continue;
    for (const TokenId id : ids) text.add_token_bytes(std::string(model->vocabulary().TokenBytes(id)));
  }
  *response.mutable_provenance() = ProvenanceOf(*model);
  return absl::OkStatus();
}

absl::Status Detokenize(const v1::DetokenizeRequest& request, const ServerEnv& env, const RequestContext& context,
                        v1::DetokenizeResponse& response) {
  if (request.tokens().empty()) return errors::Required("tokens");
  if (request.tokens_size() > kMaxItems) {
    return errors::AboveLimit("tokens", request.tokens_size(), kMaxItems, 1);
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  std::vector<std::vector<TokenId>> tokens;
  int64_t count = 0;
  for (int i = 0; i < request.tokens_size(); ++i) {
    const auto& ids = request.tokens(i).token_ids();
    count += ids.size();
    RETURN_IF_ERROR(CheckTokenIds(ids, Element("tokens", i, ".token_ids"), model->description().vocab_size));
    tokens.emplace_back(ids.begin(), ids.end());
  }
  if (count > kMaxScoreTokens) {
    return errors::AboveLimit("tokens", count, kMaxScoreTokens, 0, "tokens");
  }
  ASSIGN_OR_RETURN(const auto texts, model->Detokenize(std::move(tokens), request.render_special_tokens(), context));
  for (const std::string& bytes : texts) {
    v1::DetokenizedText& text = *response.add_texts();
    text.set_text(ToUtf8(bytes));
    if (!IsUtf8(bytes)) text.set_raw_bytes(bytes);
  }
  *response.mutable_provenance() = ProvenanceOf(*model);
  return absl::OkStatus();
}

}  // namespace logitd::server
