// POST /v1/chat/completions.
//
// The server renders the conversation with the model's chat template, and completes the tokens of that. Names of
// control tokens in a message are plain text: nobody can end a turn by writing its mark.
#ifndef LOGITD_CLIENT_HTTP_CHAT_ROUTE_H_
#define LOGITD_CLIENT_HTTP_CHAT_ROUTE_H_

#include "absl/status/status.h"
#include "client/http/services.h"

namespace logitd::http {

absl::Status HandleChat(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CHAT_ROUTE_H_
