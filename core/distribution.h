// What one row says: the model's own statistics (RowStatistics), and the distribution that a token is drawn from
// (Distribution). The one place where the temperature is applied.
//
//   Distribution distribution;                      // reused for every row: it keeps its buffers
//   RETURN_IF_ERROR(distribution.Assign(row, params, /*excluded=*/{}));
//   TokenId token = Sample(distribution, uniform);  // core/sampler.h
//   double log_prob = distribution.LogProb(token);
//
// Source: docs/numerics.md, sections 1 and 2.
#ifndef LOGITD_CORE_DISTRIBUTION_H_
#define LOGITD_CORE_DISTRIBUTION_H_

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/prefix_search.h"
#include "core/sampling_params.h"
#include "core/types.h"

namespace logitd {

// The row as it came: temperature 1, whole vocabulary, before every stage. Thread-compatible value; does not keep the
// row, which the functions that need it take again.
struct RowStatistics {
  float max = 0;
  // Lowest id of the maximum.
  TokenId argmax = 0;
  // Sum of the integer weights, >= 2^42.
  uint64_t total_weight = 0;
  // ln of the sum of exp(x), nats: max + ln(total_weight 2^-42).
  double log_sum_exp = 0;

  // (logit - max) - ln(total_weight 2^-42), nats; -inf for a logit of -inf. |error| <= 1e-6.
  double LogProb(float logit) const;
};

// Shapes: row [vocab_size], 1 <= vocab_size <= kMaxVocabSize.
// Errors: NON_FINITE_LOGIT naming the token id, NO_FINITE_LOGIT.
absl::StatusOr<RowStatistics> ReadRow(LogitsView row);
// Entropy of the row, nats, >= 0; |error| <= 1e-6. REQUIRES: `statistics` is of `row`.
double ModelEntropy(LogitsView row, const RowStatistics& statistics);
// 1 + number of strictly larger logits: ties share the best rank.
int32_t RankOf(LogitsView row, TokenId token_id);

// Integer weights over the tokens that are allowed and kept. Thread-compatible; keeps a view of the last row.
class Distribution {
 public:
  // Processes `row` with every stage of `params`: subset, `excluded` (token ids that may not be chosen at this step,
  // any order), temperature, top-k, top-p, min-p. Temperature 0 leaves the argmax alone.
  // Shapes: row [vocab_size]; it must outlive this object's use.
  // Errors: NON_FINITE_LOGIT, NO_FINITE_LOGIT (the row itself has no finite value), ALL_TOKENS_EXCLUDED (the subset
  // leaves none). After an error the object may only be assigned to again.
  // REQUIRES: Validate(params).ok(); params.subset, if set, has vocab_size == row.size().
  absl::Status Assign(LogitsView row, const SamplingParams& params, std::span<const TokenId> excluded);

  // For the truncation stages (core/truncation.h): keeps only what `cut` keeps; never less than the first token.
  void Truncate(const Cut& cut);
  // Where to cut for the shortest prefix of what is kept that has at least `target` tokens, or so much weight.
  // REQUIRES: target >= 1 and at most kept_count(), or total_weight().
  enum class Mass { kTokens, kWeights };
  Cut FindCut(Mass mass, uint64_t target);

  LogitsView row() const { return row_; }
  double temperature() const { return temperature_; }
  // Maximum of the allowed tokens, and its lowest id.
  float max() const { return max_; }
  TokenId argmax() const { return argmax_; }
  // Allowed, finite and not cut. A kept token may have weight 0: it has a finite log-prob and is never drawn.
  bool Keeps(TokenId token_id) const;
  int32_t kept_count() const { return kept_count_; }
  // Tokens that are allowed and not cut, as VocabSubset::words(); empty: all. Logits of -inf are not taken out.
  std::span<const uint64_t> mask() const { return has_mask_ ? mask_ : std::span<const uint64_t>(); }
  // Integer weight, unit 2^-42 of the maximum's; 0 for a token that is not kept. [vocab_size]
  std::span<const uint64_t> weights() const { return weights_; }
  // Sum of the weights of the kept tokens: at least 2^42, at most 2^62.
  uint64_t total_weight() const { return total_weight_; }
  // ln p of `token_id`, nats: (x - max) / T - ln(total_weight 2^-42); -inf if it is not kept; 0 for the argmax at T =
  // 0.
  double LogProb(TokenId token_id) const;
  // Entropy over the kept tokens, nats, >= 0; |error| <= 1e-6. One more pass over the row.
  double Entropy() const;
  // What ReadRow(row()) returns, without another pass. REQUIRES: the last Assign had neutral parameters and excluded
  // nothing.
  RowStatistics ModelStatistics() const;

 private:
  const uint64_t* mask_or_null() const { return has_mask_ ? mask_.data() : nullptr; }

  LogitsView row_;
  double temperature_ = 1;
  float max_ = 0;
  TokenId argmax_ = 0;
  int32_t kept_count_ = 0;
  uint64_t total_weight_ = 0;
  double log_total_ = 0;
  // Tokens that are allowed and not cut, as VocabSubset::words(); meaningful if has_mask_, else all are.
  std::vector<uint64_t> mask_;
  bool has_mask_ = false;
  // Top-k comes before the weights exist, so that what it cuts is never exponentiated.
  bool has_weights_ = false;
  std::vector<uint64_t> weights_;
  // An upper bound of the kept logits of each block (core/kernels/row_kernels.h).
  std::vector<float> block_max_;
  PrefixSearch prefix_search_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_DISTRIBUTION_H_
