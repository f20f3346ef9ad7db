#include "client/http/chat_request.h"

#include <algorithm>
#include <optional>

#include "base/status_macros.h"
#include "client/http/chat_fields.h"
#include "client/http/chat_messages.h"
#include "client/http/fields.h"
#include "client/http/generation_fields.h"
#include "client/http/request_error.h"

namespace logitd::http {

absl::StatusOr<ChatRequest> ParseChatRequest(const Json& body) {
  RETURN_IF_ERROR(CheckFields(body, ChatFields()));
  FieldReader fields(body);
  ChatRequest out;
  ASSIGN_OR_RETURN(out.chat, ChatOf(fields));
  RETURN_IF_ERROR(SetGenerationFields(fields, out.completion));
  const bool wants_log_probs = fields.BoolOr("logprobs", false);
  const int top_count = CountOf(fields, "top_logprobs").value_or(0);
  RETURN_IF_ERROR(fields.status());
  if (wants_log_probs) {
    out.completion.logprobs = top_count;
  } else if (top_count > 0) {
    return InvalidValue("top_logprobs", "needs logprobs");
  }
  SetRecords(out.completion);
  return out;
}

int32_t DefaultMaxTokens(const v1::GenerateRequest& request, int64_t prompt_token_count, int64_t context_length,
                         const v1::Limits& limits) {
  const int64_t completion_count = std::max(1, request.has_best_of() ? request.best_of() : request.n());
  // The last token of a completion needs no place in the context.
  int64_t tokens = context_length - prompt_token_count + 1;
  tokens = std::min<int64_t>(tokens, limits.max_tokens());
  tokens = std::min<int64_t>(tokens, limits.max_generated_tokens() / completion_count);
  if (const int64_t top_count = request.record().top_n(); top_count > 0) {
    const int64_t of_prompt = prompt_token_count * request.prompt_record().top_n();
    tokens = std::min<int64_t>(tokens, (limits.max_alternatives() - of_prompt) / (completion_count * top_count));
  }
  return static_cast<int32_t>(std::max<int64_t>(tokens, 1));
}

}  // namespace logitd::http
