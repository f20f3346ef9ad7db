// The conversation of a request: `messages`, `add_generation_prompt` and `chat_template_kwargs`.
//
//   {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]}]}
//   -> messages { role: "user" content: "Hello\nthere" }
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_HTTP_CHAT_MESSAGES_H_
#define LOGITD_CLIENT_HTTP_CHAT_MESSAGES_H_

#include "absl/status/statusor.h"
#include "client/http/fields.h"
#include "logitd/v1/chat.pb.h"

namespace logitd::http {

// Roles are passed on as they are: the model's template knows which there are. The parts of a content are joined by
// line feeds. null, or no content, is an empty text if the role is assistant.
// Errors: everything that is wrong with a field; those that the server has too are left to the server.
absl::StatusOr<v1::Chat> ChatOf(FieldReader& fields);

// The server's error about `chat`, with the names of this API: "messages[0].role", "chat_template_kwargs.NAME".
absl::Status OfRendering(absl::Status status, const v1::Chat& chat);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CHAT_MESSAGES_H_
