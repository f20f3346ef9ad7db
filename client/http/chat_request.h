// A request of /v1/chat/completions, taken apart.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_HTTP_CHAT_REQUEST_H_
#define LOGITD_CLIENT_HTTP_CHAT_REQUEST_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/http/completion_request.h"
#include "client/http/strict_json.h"
#include "logitd/v1/chat.pb.h"
#include "logitd/v1/server_service.pb.h"

namespace logitd::http {

struct ChatRequest {
  v1::Chat chat;
  // Without its prompt, which is the rendered conversation, and without max_tokens if the request names none.
  CompletionRequest completion;
};

// Errors: as ParseCompletionRequest.
absl::StatusOr<ChatRequest> ParseChatRequest(const Json& body);

// The max_tokens of a request that names none: to the end of the context, or as many as the limits allow, at least 1.
int32_t DefaultMaxTokens(const v1::GenerateRequest& request, int64_t prompt_token_count, int64_t context_length,
                         const v1::Limits& limits);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CHAT_REQUEST_H_
