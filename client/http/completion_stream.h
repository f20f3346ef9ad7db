// /v1/completions as server-sent events: each has new text of one choice, the last one is [DONE].
//
//   data: {"id": "cmpl-...", ..., "choices": [{"index": 0, "text": " Paris", "logprobs": null, "finish_reason": null}]}
//   data: [DONE]
//
// - A request that the server refuses has its status, as without `stream`: events begin when the server has taken
//   the first prompt. A later failure is an event {"error": {...}}, after which the stream ends without [DONE].
// - With echo, the first event of each choice has the prompt.
// - The lists of `logprobs` and the texts of all events, one after the other, are those of the reply without `stream`.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_STREAM_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_STREAM_H_

#include "absl/status/status.h"
#include "client/http/completion_request.h"
#include "client/http/services.h"

namespace logitd::http {

absl::Status StreamCompletions(CompletionRequest request, Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_STREAM_H_
