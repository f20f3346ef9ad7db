// The log-probs of one given sequence of tokens.
//
//   Scorer scorer(options, /*sampling=*/nullptr);
//   for (t...) ASSIGN_OR_RETURN(TokenRecord record, scorer.Score(row[t], target[t], distribution));
//   scorer.sums().model->value();  // the sequence's log-prob
//
// Row t is the model's output that predicts target t. Thread-compatible.
#ifndef LOGITD_CORE_SCORER_H_
#define LOGITD_CORE_SCORER_H_

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "core/distribution.h"
#include "core/logits_row.h"
#include "core/sampling_params.h"
#include "core/sequence.h"
#include "core/token_record.h"
#include "core/types.h"

namespace logitd {

class Scorer {
 public:
  // `sampling`: also scores under this processed distribution. REQUIRES: not greedy.
  Scorer(RecordOptions options, std::optional<SamplingParams> sampling);

  // Scores the next target; `context` is that of Distribution::Assign. A target that the row or the stages exclude is
  // kExcluded, not an error. Errors: NON_FINITE_LOGIT, NO_FINITE_LOGIT, ALL_TOKENS_EXCLUDED, TOKEN_ID_OUT_OF_RANGE
  // (field "token_ids").
  // `next`: the logits of the next target's row if they are known, as for ReadRow.
  // `named`: tokens that the record names besides options.named_token_ids, after them. REQUIRES: they are in range.
  absl::StatusOr<TokenRecord> Score(const LogitsRow& row, TokenId target, Distribution& distribution,
                                    const StepContext& context = {}, LogitsView next = {},
                                    std::span<const TokenId> named = {});

  // Passes a position that is not scored. It has no record and is in no sum, but positions count it. Its row is checked
  // like any other; the stages do not run. Errors: NON_FINITE_LOGIT, NO_FINITE_LOGIT. `next`: as Score.
  absl::Status Skip(const LogitsRow& row, LogitsView next = {});

  // Takes the record of the next row that a runner made with this same code. Sets its position and origin.
  void Add(TokenRecord& record, TokenId argmax);

  // Targets scored so far.
  int32_t token_count() const { return token_count_; }
  // The next target's position: those scored and those skipped.
  int32_t position() const { return position_; }
  const SequenceSums& sums() const { return sums_; }
  // Every target scored so far was the argmax of its row, ties to the lowest id.
  bool is_greedy() const { return is_greedy_; }
  const RecordOptions& options() const { return options_; }

 private:
  RecordOptions options_;
  std::optional<SamplingParams> sampling_;
  int32_t token_count_ = 0;
  int32_t position_ = 0;
  SequenceSums sums_;
  bool is_greedy_ = true;
};

}  // namespace logitd

#endif  // LOGITD_CORE_SCORER_H_
