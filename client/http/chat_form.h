// Replies of /v1/chat/completions.
//
//   {"id": "chatcmpl-...", "object": "chat.completion", ...,
//    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris.", "refusal": null},
//                 "logprobs": null, "finish_reason": "stop", "stop_reason": null}]}
//
// - The token that ends a message (an end token of the model or one of stop_token_ids) has no text, and is not in
//   `logprobs.content`. It is in token_ids, in the lists and sums of the extension, and the extension's `end_token`.
// - The first event of each choice has the role. `logprobs.content` and the texts of all events, one after the other,
//   are those of the reply without `stream`.
// - prompt_token_ids and prompt_logprobs are fields of the whole reply, as in vLLM.
#ifndef LOGITD_CLIENT_HTTP_CHAT_FORM_H_
#define LOGITD_CLIENT_HTTP_CHAT_FORM_H_

#include <memory>
#include <string>
#include <vector>

#include "client/http/reply_form.h"

namespace logitd::http {

class ChatForm final : public ReplyForm {
 public:
  ReplyHead Head(bool is_stream) const override;
  absl::Status ErrorOf(const CompletionRequest& request, size_t prompt, absl::Status status) const override;
  std::vector<NamedJson> PromptFields(const CompletionRequest& request, const PromptParts& prompt,
                                      const TokenTexts& texts) const override;
  std::unique_ptr<ChoiceEvents> Events(const CompletionRequest& request, size_t prompt,
                                       TokenTexts texts) const override;
  std::string Choice(int64_t index, const CompletionRequest& request, const PromptParts& prompt,
                     const v1::Completion& completion, const TokenTexts& texts) const override;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CHAT_FORM_H_
