// Errors of HTTP requests: how they are made, and the form in which clients of OpenAI's API read them:
//
//   {"error": {"message": "...", "type": "invalid_request_error", "param": "top_k", "code": "invalid_value"}}
//
// Functions return absl::Status. Errors of this process are made here, those of the server come from client/logitd with
// their details. ApiErrorOf turns either into status, message, type, param and code.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_HTTP_REQUEST_ERROR_H_
#define LOGITD_CLIENT_HTTP_REQUEST_ERROR_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "logitd/v1/error.pb.h"

namespace logitd::http {

struct ApiError {
  // HTTP's status.
  int status = 500;
  std::string message;
  std::string type;
  // The field of the request. Empty: no single one; it is written as null.
  std::string param;
  // The reason, for programs: the server's in lower case ("model_not_found"), or one of this process
  // ("unknown_parameter").
  std::string code;
  // For the header Retry-After.
  std::optional<std::chrono::seconds> retry_after;
};

// An error with a status of HTTP's own.
absl::Status HttpError(int status, std::string_view code, std::string_view param, std::string_view message);

// 400. `message` follows the field's name: "must be an integer, got a string".
absl::Status InvalidValue(std::string_view param, std::string_view message);
absl::Status InvalidType(std::string_view param, std::string_view expected, std::string_view got);
absl::Status MissingField(std::string_view param);
// `suggestion`: as DidYouMean gives it, or empty.
absl::Status UnknownField(std::string_view param, std::string_view suggestion = "");
// A field that is known and not served. `reason` is a sentence.
absl::Status UnsupportedField(std::string_view param, std::string_view reason);

// `status`, of the prompt at `index` of a list: what is wrong with "prompt[3]", its token, is wrong with
// "prompt[INDEX][3]".
absl::Status OfPrompt(absl::Status status, size_t index);

// `status`, of a conversation: what is wrong with the prompt that it becomes is wrong with `messages`.
absl::Status OfChat(absl::Status status);

// `status`, of entries that the client knows by names, not by their order: what is wrong with "logit_bias[0].bias" is
// wrong with "logit_bias." + `name_of`(0).
absl::Status OfEntries(absl::Status status, std::string_view list,
                       const std::function<std::string(size_t index)>& name_of);

// `status`, of an item of Decide, which the client does not know by this name: what is wrong with "items[3].context" is
// wrong with `param_of`(3). Labels that are token ids are `label_token_ids`.
absl::Status OfItem(absl::Status status, const std::function<std::string(size_t index)>& param_of);

// 503 with Retry-After.
absl::Status Overloaded(std::string_view message);
// The same, of a request that this process gave up because it ends.
absl::Status GivenUp();

// REQUIRES: !status.ok().
ApiError ApiErrorOf(const absl::Status& status);
// The error of one item or completion.
ApiError ApiErrorOf(const v1::Error& error);

// The body: {"error": {...}}.
std::string ErrorBody(const ApiError& error);

// Whether the server may answer the same request later: it was full, or lost the model's runner.
bool IsPassing(const absl::Status& status);
// The server has no room for the call now.
bool IsServerFull(const absl::Status& status);
// The delay that the server asks for before the next try. Unset: it names none.
std::optional<std::chrono::milliseconds> DelayOf(const absl::Status& status);
// Whether nobody answered at the server's address, or the server is about to end.
bool IsServerAway(const absl::Status& status);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_REQUEST_ERROR_H_
