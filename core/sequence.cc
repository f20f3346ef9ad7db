#include "core/sequence.h"

#include <algorithm>
#include <utility>

namespace logitd {

std::optional<Finish> FinishAfter(TokenId last, int32_t token_count, const StopRules& rules) {
  if (std::binary_search(rules.stop_token_ids.begin(), rules.stop_token_ids.end(), last)) {
    return Finish{FinishReason::kStopToken, last};
  }
  if (token_count >= rules.max_tokens) return Finish{FinishReason::kMaxTokens, std::nullopt};
  return std::nullopt;
}

void SequenceSums::Add(const TokenRecord& record) {
  const auto add = [](std::optional<CompensatedSum>& sum, const std::optional<double>& log_prob) {
    if (!log_prob) {
      sum.reset();
    } else if (sum) {
      sum->Add(*log_prob);
    }
  };
  add(model, record.model_log_prob);
  add(sampling, record.sampling_log_prob);
}

SequenceSums WantedSums(const RecordOptions& record, SequenceSums sums) {
  if (!record.model_log_prob) sums.model.reset();
  if (!record.sampling_log_prob) sums.sampling.reset();
  return sums;
}

Sequence::Sequence(std::vector<TokenId> token_ids, const SequenceSums& sums, bool keeps_tokens)
    : keeps_tokens_(keeps_tokens), position_(static_cast<int32_t>(token_ids.size())), sums_(sums) {
  if (!token_ids.empty()) last_token_ = token_ids.back();
  if (keeps_tokens) token_ids_ = std::move(token_ids);
}

Sequence::Sequence(int32_t token_count, const SequenceSums& sums)
    : keeps_tokens_(false), position_(token_count), sums_(sums) {}

void Sequence::Append(const TokenRecord& record) {
  if (keeps_tokens_) token_ids_.push_back(record.token_id);
  ++position_;
  last_token_ = record.token_id;
  sums_.Add(record);
}

}  // namespace logitd
