#include "client/logitd/model_path.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/logitd/client_error.h"

namespace logitd::client {

absl::StatusOr<v1::ScoreResponse> ScoreOne(Client& client, const v1::ScoreRequest& request) {
  std::optional<v1::ScoreResponse> response;
  RETURN_IF_ERROR(client.Score(request, [&](v1::ScoreResponse answer) {
    response = std::move(answer);
    return true;
  }));
  if (!response) return absl::InternalError("the server answered without a score");
  if (response->item().has_error()) return FromError(response->item().error());
  for (const v1::ScoredContinuation& continuation : response->item().continuations()) {
    if (continuation.has_error()) return FromError(continuation.error());
  }
  if (response->item().continuations_size() != request.items(0).continuations_size()) {
    return absl::InternalError(absl::StrCat("the server answered ", response->item().continuations_size(), " of ",
                                            request.items(0).continuations_size(), " continuations"));
  }
  return *std::move(response);
}

absl::StatusOr<PathPiece> ModelPath::Records(int32_t first, int32_t count, const v1::RecordOptions& record,
                                             const Named& named) const {
  const int32_t end = std::min(length(), first + count);
  v1::ScoreRequest request = base;
  *request.mutable_record() = record;
  v1::ScoreItem& item = *request.add_items();
  auto& context = *item.mutable_context()->mutable_tokens()->mutable_token_ids();
  context.Add(context_ids.begin(), context_ids.end());
  context.Add(token_ids.begin(), token_ids.begin() + first);
  v1::Continuation& continuation = *item.add_continuations();
  continuation.mutable_tokens()->mutable_token_ids()->Add(token_ids.begin() + first, token_ids.begin() + end);
  for (const std::vector<int32_t>& ids : named) {
    continuation.add_named_by_position()->mutable_token_ids()->Add(ids.begin(), ids.end());
  }
  ASSIGN_OR_RETURN(v1::ScoreResponse response, ScoreOne(client, request));
  const auto& tokens = response.item().continuations(0).score().tokens();
  if (tokens.size() != end - first) {
    return absl::InternalError(absl::StrCat("the server answered ", tokens.size(), " of ", end - first, " tokens"));
  }
  return PathPiece{{tokens.begin(), tokens.end()}, response.provenance()};
}

}  // namespace logitd::client
