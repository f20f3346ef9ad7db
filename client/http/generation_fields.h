// The fields that all routes have which generate: how tokens are drawn, when a completion ends, how many completions
// there are, and what the reply has besides their texts.
//
//   RETURN_IF_ERROR(CheckFields(body, CompletionFields()));      // a table of WithGenerationFields
//   FieldReader fields(body);
//   RETURN_IF_ERROR(SetGenerationFields(fields, request));
//   request.logprobs = ...;                                      // the route's own fields
//   SetRecords(request);
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_HTTP_GENERATION_FIELDS_H_
#define LOGITD_CLIENT_HTTP_GENERATION_FIELDS_H_

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/http/completion_request.h"
#include "client/http/fields.h"

namespace logitd::http {

// A route's own fields and the common ones: first those that are served, then the refused ones, then the ignored ones.
std::vector<Field> WithGenerationFields(FieldTable own);
// Of `stream_options`.
FieldTable StreamOptionFields();
// Of `logitd`, the extensions.
FieldTable ExtensionFields();

// The common fields, and the two names of max_tokens, which is left unset if neither is there.
// Errors: everything that FieldReader refuses, and values that exclude each other. The ranges of numbers that the
// server has too are left to the server.
absl::Status SetGenerationFields(FieldReader& fields, CompletionRequest& out);

// A number >= 0.
std::optional<int> CountOf(FieldReader& fields, std::string_view name);

// The error of a request: a bias is named by its token, "logit_bias.17", as the client named it.
absl::Status OfLogitBias(absl::Status status, const v1::GenerateRequest& request);

// Asks for the records that the reply needs, when all other members of `out` are set.
void SetRecords(CompletionRequest& out);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_GENERATION_FIELDS_H_
