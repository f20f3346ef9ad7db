// What a row says as it came: temperature 1, the whole vocabulary, before every stage.
//
//   ASSIGN_OR_RETURN(RowStatistics statistics, ReadRow(row, /*with_entropy=*/true));
//   double log_prob = statistics.LogProb(row[token_id]);
//
// Source: docs/numerics.md, sections 1 and 3. Thread-safe: values and free functions.
#ifndef LOGITD_CORE_ROW_STATISTICS_H_
#define LOGITD_CORE_ROW_STATISTICS_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "core/types.h"

namespace logitd {

// The first token in the order of logits.
struct RowMaximum {
  float max = 0;
  TokenId argmax = 0;
};

struct RowStatistics {
  float max = 0;
  // Lowest id of the maximum.
  TokenId argmax = 0;
  // Sum of the integer weights, >= 2^42.
  uint64_t total_weight = 0;
  // ln(total_weight 2^-42), nats.
  double log_total = 0;
  // ln of the sum of exp(x), nats: max + log_total.
  double log_sum_exp = 0;
  // Nats, >= 0; |error| <= 1e-6. Unset: not asked for.
  std::optional<double> entropy;

  // (logit - max) - log_total, nats; -inf for a logit of -inf. |error| <= 1e-6.
  double LogProb(float logit) const { return (static_cast<double>(logit) - static_cast<double>(max)) - log_total; }
};

// Shapes: row [vocab_size], 1 <= vocab_size <= kMaxVocabSize.
// Errors: NON_FINITE_LOGIT naming the token id, NO_FINITE_LOGIT.
// `next`: the row that is read after this one, of the same size, if it is known; it is brought nearer meanwhile (a
// third of the time of a row that comes from memory). Empty: not known.
absl::StatusOr<RowStatistics> ReadRow(LogitsView row, bool with_entropy = false, LogitsView next = {});
// The same of a row whose maximum is known. REQUIRES: the row has no NaN, no +inf, and `maximum` is its own.
RowStatistics StatisticsOf(LogitsView row, const RowMaximum& maximum, bool with_entropy);
// The same of one whose weights are added up. Without the entropy.
RowStatistics StatisticsOf(const RowMaximum& maximum, uint64_t total_weight);
// The entropy alone. REQUIRES: `statistics` is of `row`.
double ModelEntropy(LogitsView row, const RowStatistics& statistics);
// The first pass alone. Errors: as ReadRow.
absl::StatusOr<RowMaximum> FindMaximum(LogitsView row);
// 1 + number of strictly larger logits: ties share the best rank.
int32_t RankOf(LogitsView row, TokenId token_id);

}  // namespace logitd

#endif  // LOGITD_CORE_ROW_STATISTICS_H_
