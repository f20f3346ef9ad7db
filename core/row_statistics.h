// The model's own statistics of a row: temperature 1, the whole vocabulary, before every stage.
//
//   ASSIGN_OR_RETURN(RowStatistics statistics, ReadRow(row, /*with_entropy=*/true));
//   double log_prob = statistics.LogProb(row[token_id]);
//
// Source: docs/numerics.md, sections 1 and 3. Thread-safe: values and free functions.
#ifndef LOGITD_CORE_ROW_STATISTICS_H_
#define LOGITD_CORE_ROW_STATISTICS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/logits_row.h"
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

// Of a row with 1 <= vocab_size <= kMaxVocabSize.
// Errors: NON_FINITE_LOGIT naming the token id, NO_FINITE_LOGIT.
// `next`: the row that the caller reads next, of the same length. It is prefetched while this row is summed, which
// saves a third of the time of a row that is not in a cache. Empty: no prefetch.
absl::StatusOr<RowStatistics> ReadRow(const LogitsRow& row, bool with_entropy = false, LogitsView next = {});
// ReadRow of a row whose maximum is known. REQUIRES: the row has no NaN, no +inf, and `maximum` is its own.
RowStatistics StatisticsOf(const LogitsRow& row, const RowMaximum& maximum, bool with_entropy);
// ReadRow of a row whose weights are added up already, without the entropy.
RowStatistics StatisticsOf(const RowMaximum& maximum, uint64_t total_weight);
// The first pass alone. Errors: as ReadRow.
absl::StatusOr<RowMaximum> FindMaximum(const LogitsRow& row);
// 1 + number of strictly larger logits: ties share the best rank.
int32_t RankOf(const LogitsRow& row, TokenId token_id);
// The ranks of several tokens, in their order; each as often as it is named.
// Time: of the row at most kMaxRankPasses fast passes or one with a binary search for each logit, however many tokens;
// and a sort of the tokens.
// REQUIRES: the row has no NaN; ids are in range.
std::vector<int32_t> RanksOf(const LogitsRow& row, std::span<const TokenId> token_ids);
// Beyond it the searches cost less: of a row of 2^20, 64 passes take 3.4 ms and the searches 5.5 ms for 64 tokens, 12
// ms for 1,024, where 1,024 passes would take 54 ms.
inline constexpr size_t kMaxRankPasses = 64;

}  // namespace logitd

#endif  // LOGITD_CORE_ROW_STATISTICS_H_
