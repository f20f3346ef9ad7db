// One token and its numbers: the C++ form of logitd.v1.TokenRecord.
#ifndef LOGITD_CORE_TOKEN_RECORD_H_
#define LOGITD_CORE_TOKEN_RECORD_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/distribution.h"
#include "core/logits_row.h"
#include "core/top_tokens.h"
#include "core/types.h"

namespace logitd {

// The form of the top alternatives. kPacked: columns of bytes. kWholeVocabulary: columns of every token, by id; the
// order of TokenRecord::top then has no meaning.
enum class TopLayout { kList = 0, kPacked = 1, kWholeVocabulary = 2 };

// The parts of a record. Other parts are not computed.
struct RecordOptions {
  bool model_log_prob = true;
  bool sampling_log_prob = true;
  bool rank = false;
  bool entropy = false;
  // kept_count and kept_mass.
  bool kept_set = false;
  // The draw's integers.
  bool draw = false;
  // Number of top alternatives by (model log-prob descending, id ascending), >= 0.
  int32_t top_n = 0;
  TopLayout top_layout = TopLayout::kList;
  // Tokens whose log-probs are wanted at every position.
  std::vector<TokenId> named_token_ids;
  bool token_bytes = true;
  // False: no records at all, only sums (RECORD_LAYOUT_NONE).
  bool records = true;
};

enum class TokenOrigin { kChosen = 1, kGiven = 2 };
enum class LogProbState { kPresent = 1, kExcluded = 2, kFirstToken = 4 };

// One of several tokens of a row. -inf: probability zero. Unset: not asked for.
struct TokenAlternative {
  TokenId token_id = 0;
  std::optional<double> model_log_prob;
  std::optional<double> sampling_log_prob;
  std::optional<int32_t> rank;
};

// Log-probs in nats. A number that does not exist or was not asked for is unset, never 0 or -inf (see `state`).
struct TokenRecord {
  TokenId token_id = 0;
  int32_t position = 0;
  TokenOrigin origin = TokenOrigin::kChosen;
  LogProbState state = LogProbState::kPresent;
  std::optional<double> model_log_prob;
  std::optional<double> sampling_log_prob;
  std::optional<int32_t> rank;
  std::optional<double> model_entropy;
  std::optional<double> model_log_sum_exp;
  std::optional<int32_t> kept_count;
  std::optional<double> kept_mass;
  std::optional<Draw> draw;
  // The second draw, of a token of a row's rest; `draw` is then the rest's.
  std::optional<Draw> rest_draw;
  std::vector<TokenAlternative> top;
  std::vector<TokenAlternative> named;
};

// Whether a record with `options` needs the row's statistics, which cost two passes.
bool NeedsRowStatistics(const RecordOptions& options);

// The record of `token_id` in `row`; position, origin and draw are the caller's to set.
// `distribution`: the sampling distribution of the row; null: there is none, and its numbers are unset.
// Ranks of alternatives are given if options.rank. REQUIRES: `statistics` (if NeedsRowStatistics(options), else
// anything) and `distribution` are of `row`, `statistics` with its entropy if options.entropy, `distribution` with
// kept_mass if options.kept_set; options.top_n <= row.vocab_size(); named ids are in range.
// `top_tokens`: working space for options.top_n; null: the distribution's, or a new one.
TokenRecord MakeRecord(const LogitsRow& row, const RowStatistics& statistics, Distribution* distribution,
                       TokenId token_id, const RecordOptions& options, TopTokens* top_tokens = nullptr);

}  // namespace logitd

#endif  // LOGITD_CORE_TOKEN_RECORD_H_
