// What the choices of one prompt share, put together from the server's replies and, where these lack something, from
// further calls.
#ifndef LOGITD_CLIENT_HTTP_PROMPT_PARTS_H_
#define LOGITD_CLIENT_HTTP_PROMPT_PARTS_H_

#include "absl/status/statusor.h"
#include "client/http/completion_reply.h"
#include "client/http/completion_request.h"
#include "client/http/services.h"

namespace logitd::http {

// `tokens`: the prompt's records. Empty: the request asks for none.
absl::StatusOr<PromptParts> PromptPartsOf(const CompletionRequest& request, const v1::Input& prompt,
                                          v1::ScoredPrompt tokens, const v1::Provenance& provenance,
                                          const TokenTexts& texts, Services& services, const Caller& caller);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_PROMPT_PARTS_H_
