#include "core/scorer.h"

#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd {

Scorer::Scorer(RecordOptions options, std::optional<SamplingParams> sampling)
    : options_(std::move(options)), sampling_(std::move(sampling)), sums_(WantedSums(options_, SequenceSums{})) {
  if (!sampling_) sums_.sampling.reset();
}

absl::StatusOr<TokenRecord> Scorer::Score(const LogitsRow& row, TokenId target, Distribution& distribution,
                                          const StepContext& context, LogitsView next, std::span<const TokenId> named) {
  if (target < 0 || target >= row.vocab_size()) {
    return errors::TokenIdOutOfRange("token_ids", target, row.vocab_size());
  }
  const bool with_entropy = options_.records && options_.entropy;
  RowStatistics statistics;
  if (sampling_) {
    const DistributionOptions options{.kept_mass = options_.records && options_.kept_set};
    RETURN_IF_ERROR(distribution.Assign(row, *sampling_, context, options));
    statistics = distribution.ModelStatistics(with_entropy);
  } else {
    ASSIGN_OR_RETURN(statistics, ReadRow(row, with_entropy, next));
  }
  Distribution* const processed = sampling_ ? &distribution : nullptr;
  TokenRecord record;
  if (named.empty()) {
    record = MakeRecord(row, statistics, processed, target, options_, &distribution.top_tokens());
  } else {
    RecordOptions options = options_;
    options.named_token_ids.insert(options.named_token_ids.end(), named.begin(), named.end());
    record = MakeRecord(row, statistics, processed, target, options, &distribution.top_tokens());
  }
  Add(record, statistics.argmax);
  return record;
}

absl::Status Scorer::Skip(const LogitsRow& row, LogitsView next) {
  RETURN_IF_ERROR(ReadRow(row, /*with_entropy=*/false, next).status());
  ++position_;
  return absl::OkStatus();
}

void Scorer::Add(TokenRecord& record, TokenId argmax) {
  record.position = position_;
  record.origin = TokenOrigin::kGiven;
  sums_.Add(record);
  is_greedy_ = is_greedy_ && record.token_id == argmax;
  ++token_count_;
  ++position_;
}

}  // namespace logitd
