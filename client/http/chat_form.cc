#include "client/http/chat_form.h"

#include <utility>

#include "client/http/chat_logprobs.h"
#include "client/http/generation_fields.h"
#include "client/http/logprob_lists.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

using Records = google::protobuf::RepeatedPtrField<v1::TokenRecord>;

// The token that ended the message, the last of `records`. Null: it has not ended, or in another way.
const v1::TokenRecord* EndToken(const Records& records, const v1::Finish& finish) {
  return finish.reason() == v1::FINISH_REASON_STOP_TOKEN && !records.empty() ? &*records.rbegin() : nullptr;
}

// The tokens of the message: all but the one that ended it.
std::vector<const v1::TokenRecord*> TokensOf(const Records& records, const v1::Finish& finish) {
  std::vector<const v1::TokenRecord*> tokens;
  for (const v1::TokenRecord& record : records) tokens.push_back(&record);
  if (EndToken(records, finish) != nullptr) tokens.pop_back();
  return tokens;
}

class ChatEvents final : public ChoiceEvents {
 public:
  ChatEvents(const CompletionRequest& request, TokenTexts texts) : request_(request), texts_(std::move(texts)) {}

  std::vector<ChoiceEvent> Begin(const PromptParts& parts) override {
    std::vector<ChoiceEvent> events;
    for (int i = 0; i < request_.n; ++i) {
      JsonWriter choice;
      choice.BeginObject();
      choice.Field("index", i);
      choice.Key("delta");
      choice.BeginObject();
      choice.Field("role", "assistant");
      choice.Field("content", "");
      choice.EndObject();
      choice.NullField("logprobs");
      choice.NullField("finish_reason");
      choice.EndObject();
      events.push_back({choice.Take(), {}});
    }
    if (request_.return_token_ids) events.front().fields.push_back({"prompt_token_ids", IdsJson(parts.token_ids)});
    return events;
  }

  ChoiceEvent Add(const v1::CompletionDelta& delta) override {
    const std::vector<const v1::TokenRecord*> tokens = TokensOf(delta.tokens(), delta.finish());
    JsonWriter choice;
    choice.BeginObject();
    choice.Field("index", delta.index());
    choice.Key("delta");
    choice.BeginObject();
    if (!delta.text().empty() || !tokens.empty()) choice.Field("content", delta.text());
    choice.EndObject();
    choice.Key("logprobs");
    if (request_.logprobs && !tokens.empty()) {
      choice.Raw(ChatLogprobs(tokens, *request_.logprobs, texts_));
    } else {
      choice.Null();
    }
    WriteEventEnd(request_, delta, choice);
    choice.EndObject();
    return {choice.Take(), {}};
  }

 private:
  const CompletionRequest& request_;
  const TokenTexts texts_;
};

}  // namespace

ReplyHead ChatForm::Head(bool is_stream) const {
  return NewHead("chatcmpl-", is_stream ? "chat.completion.chunk" : "chat.completion");
}

std::string ChatForm::Choice(int64_t index, const CompletionRequest& request, const PromptParts& prompt,
                             const v1::Completion& completion, const TokenTexts& texts) const {
  const Records& records = completion.tokens();
  JsonWriter out;
  out.BeginObject();
  out.Field("index", index);
  out.Key("message");
  out.BeginObject();
  out.Field("role", "assistant");
  out.Field("content", completion.text());
  out.NullField("refusal");
  out.EndObject();
  out.Key("logprobs");
  if (request.logprobs) {
    out.Raw(ChatLogprobs(TokensOf(records, completion.finish()), *request.logprobs, texts));
  } else {
    out.Null();
  }
  WriteFinish(completion.finish(), request.generate.stop(), out);
  if (request.return_token_ids) {
    out.Key("token_ids");
    out.Raw(IdsJson(IdsOf(records)));
  }
  if (request.has_extensions) {
    out.Key("logitd");
    out.BeginObject();
    WriteChoiceExtension(request, prompt, completion, out);
    out.Key("end_token");
    if (const v1::TokenRecord* end = EndToken(records, completion.finish()); end != nullptr) {
      out.Raw(ChatLogprob(*end, request.logprobs.value_or(0), texts));
    } else {
      out.Null();
    }
    out.EndObject();
  }
  out.EndObject();
  return out.Take();
}

std::vector<NamedJson> ChatForm::PromptFields(const CompletionRequest& request, const PromptParts& prompt,
                                              const TokenTexts& texts) const {
  std::vector<NamedJson> fields;
  if (request.prompt_logprobs) {
    fields.push_back({"prompt_logprobs", PromptLogprobs(prompt.tokens, *request.prompt_logprobs, texts)});
  }
  if (request.return_token_ids) fields.push_back({"prompt_token_ids", IdsJson(prompt.token_ids)});
  return fields;
}

std::unique_ptr<ChoiceEvents> ChatForm::Events(const CompletionRequest& request, size_t /*prompt*/,
                                               TokenTexts texts) const {
  return std::make_unique<ChatEvents>(request, std::move(texts));
}

absl::Status ChatForm::ErrorOf(const CompletionRequest& request, size_t /*prompt*/, absl::Status status) const {
  return OfChat(OfLogitBias(std::move(status), request.generate));
}

}  // namespace logitd::http
