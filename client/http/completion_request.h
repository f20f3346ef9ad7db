// A request of /v1/completions, taken apart, and what any other request for completions becomes: that of
// /v1/chat/completions has one prompt, the rendered conversation.
//
// Thread-safe: a free function without state.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_REQUEST_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/http/strict_json.h"
#include "logitd/v1/generation_service.pb.h"

namespace logitd::http {

// As many as OpenAI takes.
inline constexpr size_t kMaxPrompts = 2048;

struct CompletionRequest {
  // Empty: the only model there is.
  std::string model;
  std::vector<v1::Input> prompts;
  // `prompt` is a list of prompts, perhaps of one.
  bool has_prompt_list = false;
  // The request of each prompt, but for the prompt. It asks for prompt records if anything in the reply needs them.
  v1::GenerateRequest generate;
  int n = 1;
  bool echo = false;
  // Alternatives of each token in the lists of `logprobs`. Unset: no lists.
  std::optional<int> logprobs;
  // Alternatives in prompt_logprobs. Unset: none are wanted.
  std::optional<int> prompt_logprobs;
  bool return_token_ids = false;
  bool tokens_as_token_ids = false;
  bool stream = false;
  bool include_usage = false;
  // The field `logitd` is there.
  bool has_extensions = false;
  bool wants_rank = false;
  bool wants_entropy = false;
  bool wants_sampling_log_prob = false;

  // The request of one prompt.
  v1::GenerateRequest RequestOf(size_t prompt) const;
};

// Errors: everything that CheckFields and FieldReader refuse, and values that exclude each other. The ranges of numbers
// that the server has too are left to the server.
absl::StatusOr<CompletionRequest> ParseCompletionRequest(const Json& body);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_REQUEST_H_
