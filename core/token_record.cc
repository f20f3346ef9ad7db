#include "core/token_record.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace logitd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TokenAlternative MakeAlternative(LogitsView row, const RowStatistics& statistics, const Distribution* distribution,
                                 TokenId token_id, const RecordOptions& options) {
  TokenAlternative alternative;
  alternative.token_id = token_id;
  if (options.model_log_prob) alternative.model_log_prob = statistics.LogProb(row[token_id]);
  if (options.sampling_log_prob && distribution != nullptr) {
    alternative.sampling_log_prob = distribution->LogProb(token_id);
  }
  return alternative;
}

}  // namespace

bool NeedsRowStatistics(const RecordOptions& options) {
  return options.model_log_prob || (options.records && options.entropy);
}

std::vector<TokenId> TopTokens(LogitsView row, int32_t n) {
  if (n == 0) return {};
  const auto comes_first = [row](TokenId a, TokenId b) { return row[a] > row[b] || (row[a] == row[b] && a < b); };
  // A heap of the n best so far, the last of them on top.
  std::vector<TokenId> best;
  best.reserve(n);
  for (TokenId token_id = 0; token_id < static_cast<TokenId>(row.size()); ++token_id) {
    if (static_cast<int32_t>(best.size()) < n) {
      best.push_back(token_id);
      std::push_heap(best.begin(), best.end(), comes_first);
    } else if (row[token_id] > row[best.front()]) {
      std::pop_heap(best.begin(), best.end(), comes_first);
      best.back() = token_id;
      std::push_heap(best.begin(), best.end(), comes_first);
    }
  }
  std::sort_heap(best.begin(), best.end(), comes_first);
  return best;
}

TokenRecord MakeRecord(LogitsView row, const RowStatistics& statistics, const Distribution* distribution,
                       TokenId token_id, const RecordOptions& options) {
  TokenRecord record;
  record.token_id = token_id;
  const bool in_row = row[token_id] > -kInfinity;
  const bool in_distribution = distribution == nullptr ? in_row : distribution->Keeps(token_id);
  if (!in_distribution) record.state = LogProbState::kExcluded;
  if (options.model_log_prob && in_row) record.model_log_prob = statistics.LogProb(row[token_id]);
  if (options.sampling_log_prob && distribution != nullptr && in_distribution) {
    record.sampling_log_prob = distribution->LogProb(token_id);
  }
  if (!options.records) return record;

  if (options.rank) record.rank = RankOf(row, token_id);
  if (options.entropy) {
    record.model_entropy = ModelEntropy(row, statistics);
    record.model_log_sum_exp = statistics.log_sum_exp;
  }
  int32_t rank = 0;
  for (TokenId top : TopTokens(row, options.top_n)) {
    const bool ties = !record.top.empty() && row[record.top.back().token_id] == row[top];
    if (!ties) rank = static_cast<int32_t>(record.top.size()) + 1;
    record.top.push_back(MakeAlternative(row, statistics, distribution, top, options));
    if (options.rank) record.top.back().rank = rank;
  }
  for (TokenId named : options.named_token_ids) {
    record.named.push_back(MakeAlternative(row, statistics, distribution, named, options));
    if (options.rank) record.named.back().rank = RankOf(row, named);
  }
  return record;
}

}  // namespace logitd
