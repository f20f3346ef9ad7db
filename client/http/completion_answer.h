// Makes the completions of a request and answers with them, whole or as a stream.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_ANSWER_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_ANSWER_H_

#include "absl/status/status.h"
#include "client/http/completion_request.h"
#include "client/http/reply_form.h"
#include "client/http/services.h"

namespace logitd::http {

// Several prompts are as many calls at once. `form` outlives the process's requests.
// Errors: those of the server, and reply_too_large.
absl::Status AnswerCompletions(CompletionRequest request, const ReplyForm& form, Exchange& exchange,
                               Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_ANSWER_H_
