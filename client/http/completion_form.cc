#include "client/http/completion_form.h"

#include <string_view>
#include <utility>

#include "client/http/generation_fields.h"
#include "client/http/logprob_lists.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

class CompletionEvents final : public ChoiceEvents {
 public:
  CompletionEvents(const CompletionRequest& request, size_t prompt, TokenTexts texts)
      : request_(request), prompt_(prompt), texts_(std::move(texts)), offsets_(static_cast<size_t>(request.n)) {}

  std::vector<ChoiceEvent> Begin(const PromptParts& parts) override {
    std::vector<ChoiceEvent> events;
    if (!parts.echo && !request_.return_token_ids) return events;
    for (int i = 0; i < request_.n; ++i) {
      JsonWriter choice;
      BeginChoice(i, parts.echo ? parts.echo->text : "", choice);
      choice.Key("logprobs");
      if (parts.echo && request_.logprobs) {
        TextOffsets& offsets = offsets_[static_cast<size_t>(i)] = TextOffsets(parts.echo->skipped_bytes);
        LogprobLists lists(texts_, *request_.logprobs);
        for (int t = parts.echo->added_count; t < parts.tokens.tokens_size(); ++t) {
          const v1::TokenRecord& record = parts.tokens.tokens(t);
          lists.Add(record, offsets.Next(texts_.BytesInPrompt(record.token_id(), record.token_bytes())));
        }
        offsets.EndText();
        choice.Raw(lists.Take());
      } else {
        choice.Null();
      }
      choice.NullField("finish_reason");
      if (request_.return_token_ids) {
        choice.Key("prompt_token_ids");
        choice.Raw(IdsJson(parts.token_ids));
      }
      choice.EndObject();
      events.push_back({choice.Take(), {}});
    }
    return events;
  }

  ChoiceEvent Add(const v1::CompletionDelta& delta) override {
    JsonWriter choice;
    BeginChoice(delta.index(), delta.text(), choice);
    choice.Key("logprobs");
    if (request_.logprobs) {
      LogprobLists lists(texts_, *request_.logprobs);
      TextOffsets& offsets = offsets_[static_cast<size_t>(delta.index())];
      for (const v1::TokenRecord& record : delta.tokens()) lists.Add(record, offsets.Next(record.token_bytes()));
      choice.Raw(lists.Take());
    } else {
      choice.Null();
    }
    WriteEventEnd(request_, delta, choice);
    choice.EndObject();
    return {choice.Take(), {}};
  }

 private:
  void BeginChoice(int completion, std::string_view text, JsonWriter& out) const {
    out.BeginObject();
    out.Field("index", static_cast<int64_t>(prompt_) * request_.n + completion);
    out.Field("text", text);
  }

  const CompletionRequest& request_;
  const size_t prompt_;
  const TokenTexts texts_;
  std::vector<TextOffsets> offsets_;
};

}  // namespace

ReplyHead CompletionForm::Head(bool /*is_stream*/) const { return NewHead("cmpl-", "text_completion"); }

std::string CompletionForm::Choice(int64_t index, const CompletionRequest& request, const PromptParts& prompt,
                                   const v1::Completion& completion, const TokenTexts& texts) const {
  return ChoiceJson(index, request, prompt, completion, texts);
}

std::vector<NamedJson> CompletionForm::PromptFields(const CompletionRequest& /*request*/, const PromptParts& /*prompt*/,
                                                    const TokenTexts& /*texts*/) const {
  // Each choice tells of its own prompt.
  return {};
}

std::unique_ptr<ChoiceEvents> CompletionForm::Events(const CompletionRequest& request, size_t prompt,
                                                     TokenTexts texts) const {
  return std::make_unique<CompletionEvents>(request, prompt, std::move(texts));
}

absl::Status CompletionForm::ErrorOf(const CompletionRequest& request, size_t prompt, absl::Status status) const {
  status = OfLogitBias(std::move(status), request.generate);
  return request.has_prompt_list ? OfPrompt(std::move(status), prompt) : status;
}

}  // namespace logitd::http
