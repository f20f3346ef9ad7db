// Example: sequence 1 holds a prompt of 3 tokens, 2 is a copy of it, and each gets one more token. The runs are then
// 1: [3] [1] and 2: [3] [1], where both share the run of 3, and the count is 5. When 1 is released, 4 are left.
#include "server/models/cached_tokens.h"

namespace logitd::server {

void CachedTokens::Add(const std::vector<SequenceWork>& work) {
  for (const SequenceWork& next : work) {
    if (!next.fork_from_sequence_id) continue;
    const auto source = sequences_.find(*next.fork_from_sequence_id);
    if (source == sequences_.end()) continue;
    std::vector<std::shared_ptr<Run>> runs = source->second;
    sequences_[next.sequence_id] = std::move(runs);
  }
  for (const SequenceWork& next : work) {
    const auto tokens = static_cast<int64_t>(next.token_count());
    if (tokens == 0) continue;
    std::vector<std::shared_ptr<Run>>& runs = sequences_[next.sequence_id];
    // A run that others share does not grow.
    if (runs.empty() || runs.back().use_count() > 1) runs.push_back(std::make_shared<Run>(count_));
    runs.back()->count += tokens;
    count_ += tokens;
  }
}

}  // namespace logitd::server
