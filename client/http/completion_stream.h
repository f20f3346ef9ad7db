// Completions as server-sent events: each has new text of one choice, the last one is [DONE].
//
//   data: {"id": "cmpl-...", ..., "choices": [{"index": 0, "text": " Paris", "logprobs": null, "finish_reason": null}]}
//   data: [DONE]
//
// - A request that the server refuses has its status, as without `stream`: events begin when the server has taken
//   the first prompt. A later failure is an event {"error": {...}}, after which the stream ends without [DONE].
// - Events of several choices interleave.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_STREAM_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_STREAM_H_

#include "absl/status/status.h"
#include "client/http/completion_request.h"
#include "client/http/reply_form.h"
#include "client/http/services.h"

namespace logitd::http {

// `form` outlives the process's requests.
absl::Status StreamCompletions(CompletionRequest request, const ReplyForm& form, Exchange& exchange,
                               Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_STREAM_H_
