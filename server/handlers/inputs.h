// Text or token ids in a request -> token ids of the model.
#ifndef LOGITD_SERVER_HANDLERS_INPUTS_H_
#define LOGITD_SERVER_HANDLERS_INPUTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/types.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/models/served_model.h"
#include "server/request_context.h"

namespace logitd::server {

// The tokens of a prompt: at least one, at most the model's context_length.
// Errors (field "prompt"): FIELD_REQUIRED, EMPTY_PROMPT, TOKEN_ID_OUT_OF_RANGE, CONTEXT_LENGTH_EXCEEDED,
// LIMIT_EXCEEDED, TOKENIZER_UNAVAILABLE.
absl::StatusOr<std::vector<TokenId>> PromptTokens(const v1::Input& prompt, const TokenizationOptions& options,
                                                  ServedModel& model, const RequestContext& context);

// One continuation, ready to be scored after its context.
struct ContinuationInput {
  // Why it cannot be scored: EMPTY_CONTINUATION, BOUNDARY_TOKEN, TOKEN_ID_OUT_OF_RANGE, CONTEXT_LENGTH_EXCEEDED, ...
  absl::Status status;
  // >= 1 token.
  std::vector<TokenId> token_ids;
  // Unset: not known.
  std::optional<int64_t> byte_count;
  std::optional<int64_t> character_count;
  // Set for text after text.
  std::optional<v1::BoundaryReport> boundary;
};

// A context and what follows it.
struct ItemInput {
  // Why the item as a whole cannot be scored.
  absl::Status status;
  // >= 1 token.
  std::vector<TokenId> context_token_ids;
  std::optional<TokenId> implicit_context_token_id;
  std::vector<ContinuationInput> continuations;
};

// An item of a request, wherever it comes from (ScoreItem, RankItem).
struct ItemRequest {
  // Path of the item in the request, e.g. "items[3]".
  std::string field;
  const v1::Input* context = nullptr;
  struct Part {
    // Path of the continuation in the item, e.g. "continuations.continuations[0]".
    std::string field;
    const v1::Continuation* continuation = nullptr;
  };
  std::vector<Part> continuations;
};

// Tokenises all items together. Text after text is tokenised jointly, the way lm-evaluation-harness does: spaces at the
// end of the context move to the continuation, context + continuation becomes tokens as a whole, and the continuation
// is what comes after as many tokens as the context alone has. What is wrong with one item or continuation is in its
// status. Errors (of the whole): LIMIT_EXCEEDED, what the tokenizer or the call as a whole fails with.
absl::StatusOr<std::vector<ItemInput>> ResolveItems(const std::vector<ItemRequest>& items,
                                                    const TokenizationOptions& options, ServedModel& model,
                                                    const RequestContext& context);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_INPUTS_H_
