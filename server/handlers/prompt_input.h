// Turns a prompt, text or token ids, into token ids of the model, and reports on a text that became tokens.
#ifndef LOGITD_SERVER_HANDLERS_PROMPT_INPUT_H_
#define LOGITD_SERVER_HANDLERS_PROMPT_INPUT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/types.h"
#include "logitd/v1/completion.pb.h"
#include "server/handlers/spelling.h"
#include "server/models/served_model.h"
#include "server/request_context.h"

namespace logitd::server {

// A prompt, ready to be evaluated.
struct PromptInput {
  // At least one.
  std::vector<TokenId> token_ids;
  v1::TokenizationReport report;
};

// The tokens of `input`, which errors call `field`. A text is refused before it is tokenised if it must have more than
// `most_tokens` tokens; the caller checks their number. Errors: as PromptTokens, except for CONTEXT_LENGTH_EXCEEDED of
// other input than text.
absl::StatusOr<PromptInput> InputTokens(const v1::Input& input, const std::string& field, int64_t most_tokens,
                                        const TokenizationOptions& options, ServedModel& model,
                                        const RequestContext& context);

// As InputTokens, for a prompt of at most the model's context_length.
// Errors (field "prompt", or one in it): FIELD_REQUIRED, EMPTY_PROMPT, TOKEN_ID_OUT_OF_RANGE, CONTEXT_LENGTH_EXCEEDED,
// LIMIT_EXCEEDED, TOKENIZER_FAILED, MALFORMED_MESSAGE and whatever else the runner says of the text. Without a field:
// TOKENIZER_UNAVAILABLE, RUNNER_LOST, CANCELLED, DEADLINE_EXCEEDED.
absl::StatusOr<PromptInput> PromptTokens(const v1::Input& prompt, const TokenizationOptions& options,
                                         ServedModel& model, const RequestContext& context);

// The token that stands for a context without tokens: BOS, or else EOS. Errors: EMPTY_PROMPT of `field`.
absl::StatusOr<TokenId> ImplicitContextToken(const ModelDescription& model, std::string_view field);

// Whether `report` says anything.
bool HasReport(const v1::TokenizationReport& report);

// Reports on the tokens that a text by itself became.
v1::TokenizationReport ReportText(const Spelling& spelling, const ModelDescription& model,
                                  const TokenizationOptions& options, std::string_view text,
                                  const std::vector<TokenId>& token_ids);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_PROMPT_INPUT_H_
