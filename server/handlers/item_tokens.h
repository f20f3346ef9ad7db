// Tokenises the items of Score, Rank and Decide: contexts and continuations, as text or token ids -> token ids of the
// model.
#ifndef LOGITD_SERVER_HANDLERS_ITEM_TOKENS_H_
#define LOGITD_SERVER_HANDLERS_ITEM_TOKENS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/decoder.h"
#include "core/types.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/converters/named_by_position.h"
#include "server/handlers/prompt_input.h"
#include "server/models/served_model.h"
#include "server/request_context.h"

namespace logitd::server {

// One continuation, ready to be scored after its context.
struct ContinuationInput {
  // Not OK: why it cannot be scored. EMPTY_CONTINUATION, BOUNDARY_TOKEN, TOKEN_ID_OUT_OF_RANGE,
  // CONTEXT_LENGTH_EXCEEDED, ...
  absl::Status status;
  // The tokens before it, at least one: usually the same list as the item's context.
  SharedTokens context;
  // At least one.
  std::vector<TokenId> token_ids;
  // Unset: unknown.
  std::optional<int64_t> byte_count;
  std::optional<int64_t> character_count;
  // Empty, or one list for each token.
  NamedByPosition named;
  // Set if the continuation is a text.
  std::optional<v1::BoundaryReport> boundary;
  // Tokens that the context has lost at its beginning, because both together were too long.
  int32_t truncated_count = 0;
};

// A context and what follows it.
struct ItemInput {
  // Not OK: why the whole item cannot be scored.
  absl::Status status;
  // The tokens of the context by itself, at least one.
  SharedTokens context;
  std::optional<TokenId> implicit_context_token_id;
  v1::TokenizationReport report;
  std::vector<ContinuationInput> continuations;
};

// The reply's facts about an item's context: in a v1::ScoredItem, v1::RankedItem or v1::DecidedItem.
template <typename Message>
void ReportContext(const ItemInput& input, Message& message) {
  message.set_context_token_count(static_cast<int32_t>(input.context->size()));
  if (HasReport(input.report)) *message.mutable_tokenization() = input.report;
  if (input.implicit_context_token_id) message.set_implicit_context_token_id(*input.implicit_context_token_id);
}

// A continuation of a request: a view of a v1::Continuation or v1::Candidate. It has text or tokens; with neither it is
// refused.
struct ContinuationRequest {
  // Its path in the item, e.g. "continuations[0]".
  std::string field;
  const std::string* text = nullptr;
  const v1::TokenIds* tokens = nullptr;
  int32_t uncounted_prefix_bytes = 0;
  std::optional<int32_t> byte_count;
  std::optional<int32_t> character_count;
  // Null: none.
  const google::protobuf::RepeatedPtrField<v1::TokenIds>* named = nullptr;
};

// An item of a request: a view of a v1::ScoreItem or v1::RankItem.
struct ItemRequest {
  // Path of the item in the request, e.g. "items[3]".
  std::string field;
  std::string_view id = {};
  // Not OK: why the item cannot be scored; its other parts are not looked at. Fields begin at the item.
  absl::Status status;
  const v1::Input* context = nullptr;
  std::vector<ContinuationRequest> continuations;
};

// A view of the content of `message`, a v1::Continuation, v1::Candidate or v1::DecisionOption.
template <typename Message>
ContinuationRequest ContentOf(std::string field, const Message& message) {
  ContinuationRequest continuation;
  continuation.field = std::move(field);
  if (message.has_text()) continuation.text = &message.text();
  if (message.has_tokens()) continuation.tokens = &message.tokens();
  return continuation;
}

// A view of `message`, a v1::Continuation or v1::Candidate.
template <typename Message>
ContinuationRequest ContinuationOf(std::string field, const Message& message) {
  ContinuationRequest continuation = ContentOf(std::move(field), message);
  continuation.uncounted_prefix_bytes = message.uncounted_prefix_bytes();
  if (message.has_byte_count()) continuation.byte_count = message.byte_count();
  if (message.has_character_count()) continuation.character_count = message.character_count();
  return continuation;
}

// Checks an item's id. Errors (field "id"): LIMIT_EXCEEDED.
absl::Status CheckId(std::string_view id);

// Tokenises all items together.
// - options.boundary says how text meets text (server/handlers/boundary.h). Text after ids goes on after other text.
//   Ids stay as they are.
// - An error of one item or continuation is in its status.
// - Texts are counted before they are joined, and joined a few at a time.
// Errors of the whole: LIMIT_EXCEEDED, and those of the tokenizer and of the call.
absl::StatusOr<std::vector<ItemInput>> ResolveItems(const std::vector<ItemRequest>& items,
                                                    const TokenizationOptions& options, ServedModel& model,
                                                    const RequestContext& context);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_ITEM_TOKENS_H_
