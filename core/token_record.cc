#include "core/token_record.h"

#include <cmath>
#include <limits>

#include "core/logit_order.h"

namespace logitd {
namespace {

// `logit` is the token's in the row.
TokenAlternative MakeAlternative(TokenId token_id, float logit, const RowStatistics& statistics,
                                 Distribution* distribution, const RecordOptions& options) {
  TokenAlternative alternative;
  alternative.token_id = token_id;
  if (options.model_log_prob) alternative.model_log_prob = statistics.LogProb(logit);
  if (options.sampling_log_prob && distribution != nullptr) {
    // Tokens that the row excludes stay out; most of a sparse row's are never searched.
    alternative.sampling_log_prob = logit > kExcludedLogit ? distribution->LogProb(token_id) : double{kExcludedLogit};
  }
  return alternative;
}

}  // namespace

bool NeedsRowStatistics(const RecordOptions& options) {
  return options.model_log_prob || (options.records && options.entropy);
}

TokenRecord MakeRecord(const LogitsRow& row, const RowStatistics& statistics, Distribution* distribution,
                       TokenId token_id, const RecordOptions& options, TopTokens* top_tokens) {
  TokenRecord record;
  record.token_id = token_id;
  const bool in_row = row[token_id] > kExcludedLogit;
  const bool in_distribution = distribution == nullptr ? in_row : distribution->Keeps(token_id);
  if (!in_distribution) record.state = LogProbState::kExcluded;
  if (options.model_log_prob && in_row) record.model_log_prob = statistics.LogProb(row[token_id]);
  if (options.sampling_log_prob && distribution != nullptr && in_distribution) {
    record.sampling_log_prob = distribution->LogProb(token_id);
  }
  if (!options.records) return record;

  if (options.rank) record.rank = RankOf(row, token_id);
  if (options.entropy) {
    record.model_entropy = statistics.entropy;
    record.model_log_sum_exp = statistics.log_sum_exp;
  }
  if (options.kept_set && distribution != nullptr) {
    record.kept_count = distribution->CountKept();
    record.kept_mass = distribution->KeptMass();
  }
  if (options.top_layout == TopLayout::kWholeVocabulary && !options.rank) {
    record.top.reserve(static_cast<size_t>(row.vocab_size()));
    size_t slot = 0;
    for (TokenId id = 0; id < row.vocab_size(); ++id) {
      const bool is_listed = slot < row.slots().size() && row.IdOf(static_cast<int32_t>(slot)) == id;
      const float logit = is_listed ? row.slots()[slot++] : kExcludedLogit;
      record.top.push_back(MakeAlternative(id, logit, statistics, distribution, options));
    }
  }
  if (record.top.empty() && options.top_n > 0) {
    TopTokens made_here;
    if (top_tokens == nullptr) top_tokens = distribution == nullptr ? &made_here : &distribution->top_tokens();
    int32_t rank = 0;
    record.top.reserve(static_cast<size_t>(options.top_n));
    for (TokenId top : top_tokens->Find(row, options.top_n)) {
      const bool ties = !record.top.empty() && row[record.top.back().token_id] == row[top];
      if (!ties) rank = static_cast<int32_t>(record.top.size()) + 1;
      record.top.push_back(MakeAlternative(top, row[top], statistics, distribution, options));
      if (options.rank) record.top.back().rank = rank;
    }
  }
  record.named.reserve(options.named_token_ids.size());
  for (TokenId named : options.named_token_ids) {
    record.named.push_back(MakeAlternative(named, row[named], statistics, distribution, options));
  }
  if (options.rank && !record.named.empty()) {
    // All in one: a pass for each would make a small message minutes of work.
    const std::vector<int32_t> ranks = RanksOf(row, options.named_token_ids);
    for (size_t i = 0; i < ranks.size(); ++i) record.named[i].rank = ranks[i];
  }
  return record;
}

}  // namespace logitd
