#include "client/http/completion_request.h"

#include <utility>

#include "base/status_macros.h"
#include "client/http/completion_fields.h"
#include "client/http/fields.h"
#include "client/http/generation_fields.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// OpenAI's default.
constexpr int kDefaultMaxTokens = 16;

absl::StatusOr<v1::Input> PromptOf(const Json& value, const std::string& path) {
  v1::Input prompt;
  if (value.is_string()) {
    prompt.set_text(value.get<std::string>());
    return prompt;
  }
  if (!value.is_array()) return InvalidType(path, "a text or a list of token ids", KindOf(value));
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TokenIdsOf(value, path));
  prompt.mutable_tokens()->mutable_token_ids()->Add(ids.begin(), ids.end());
  return prompt;
}

// "text", ["text", ...], [1, 2, ...], [[1, 2], ...], or a list of texts and lists.
absl::Status SetPrompts(const Json* value, CompletionRequest& out) {
  if (value == nullptr) return MissingField("prompt");
  out.has_prompt_list = value->is_array() && !value->empty() && !value->front().is_number();
  if (!out.has_prompt_list) {
    ASSIGN_OR_RETURN(v1::Input prompt, PromptOf(*value, "prompt"));
    if (value->is_array() && value->empty()) return InvalidValue("prompt", "must not be empty");
    out.prompts.push_back(std::move(prompt));
    return absl::OkStatus();
  }
  if (value->size() > kMaxPrompts) {
    return InvalidValue("prompt", "must have at most " + std::to_string(kMaxPrompts) + " prompts, got " +
                                      std::to_string(value->size()));
  }
  for (size_t i = 0; i < value->size(); ++i) {
    ASSIGN_OR_RETURN(v1::Input prompt, PromptOf((*value)[i], "prompt[" + std::to_string(i) + "]"));
    out.prompts.push_back(std::move(prompt));
  }
  return absl::OkStatus();
}

}  // namespace

v1::GenerateRequest CompletionRequest::RequestOf(size_t prompt) const {
  v1::GenerateRequest request = generate;
  *request.mutable_prompt() = prompts[prompt];
  return request;
}

absl::StatusOr<CompletionRequest> ParseCompletionRequest(const Json& body) {
  RETURN_IF_ERROR(CheckFields(body, CompletionFields()));
  FieldReader fields(body);
  CompletionRequest out;
  RETURN_IF_ERROR(SetPrompts(fields.Find("prompt"), out));
  RETURN_IF_ERROR(SetGenerationFields(fields, out));
  v1::StopCriteria& stop = *out.generate.mutable_stop();
  if (!stop.has_max_tokens()) stop.set_max_tokens(kDefaultMaxTokens);
  out.echo = fields.BoolOr("echo", false);
  out.logprobs = CountOf(fields, "logprobs");
  v1::TokenizationOptions& tokenization = *out.generate.mutable_tokenization();
  // true means: as the model's tokenizer is configured, which is the server's default.
  if (!fields.BoolOr("add_special_tokens", true)) tokenization.set_add_special_tokens(false);
  tokenization.set_parse_special_tokens(fields.BoolOr("parse_special_tokens", true));
  RETURN_IF_ERROR(fields.status());
  SetRecords(out);
  return out;
}

}  // namespace logitd::http
