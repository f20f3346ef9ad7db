// Replies of /v1/completions.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_FORM_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_FORM_H_

#include <memory>
#include <string>
#include <vector>

#include "client/http/reply_form.h"

namespace logitd::http {

// - With echo, the first event of each choice has the prompt.
// - The lists of `logprobs` and the texts of all events, one after the other, are those of the reply without `stream`.
class CompletionForm final : public ReplyForm {
 public:
  ReplyHead Head(bool is_stream) const override;
  std::string Choice(int64_t index, const CompletionRequest& request, const PromptParts& prompt,
                     const v1::Completion& completion, const TokenTexts& texts) const override;
  std::vector<NamedJson> PromptFields(const CompletionRequest& request, const PromptParts& prompt,
                                      const TokenTexts& texts) const override;
  std::unique_ptr<ChoiceEvents> Events(const CompletionRequest& request, size_t prompt,
                                       TokenTexts texts) const override;
  absl::Status ErrorOf(const CompletionRequest& request, size_t prompt, absl::Status status) const override;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_FORM_H_
