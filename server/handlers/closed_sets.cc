#include "server/handlers/closed_sets.h"

#include <limits>
#include <optional>

#include "core/closed_set.h"

namespace logitd::server {

double LogProbOf(const ContinuationScore& score) {
  return score.sums.model ? score.sums.model->value() : -std::numeric_limits<double>::infinity();
}

std::optional<v1::ClosedSet> ClosedSetOf(const ItemInput& input, const std::vector<ContinuationScore>& scores) {
  v1::ClosedSet message;
  std::vector<SetSequence> sequences;
  SharedTokens context;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!scores[i].status.ok()) continue;
    const ContinuationInput& continuation = input.continuations[i];
    if (context == nullptr) context = continuation.context;
    if (context != continuation.context && *context != *continuation.context) {
      message.set_kind(v1::CLOSED_SET_KIND_CONTEXTS_DIFFER);
      return message;
    }
    sequences.push_back({continuation.token_ids, LogProbOf(scores[i])});
  }
  if (sequences.empty()) return std::nullopt;
  const ClosedSetMass set = MassOf(std::move(sequences));
  message.set_kind(set.has_prefixes ? v1::CLOSED_SET_KIND_PREFIXES : v1::CLOSED_SET_KIND_EXACT);
  message.set_mass(set.mass);
  if (set.log_mass) message.set_log_mass(*set.log_mass);
  message.set_sequence_count(set.sequence_count);
  return message;
}

}  // namespace logitd::server
