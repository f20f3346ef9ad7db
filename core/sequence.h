// The state of one sequence: its tokens, its running sums, and the rules that end it.
#ifndef LOGITD_CORE_SEQUENCE_H_
#define LOGITD_CORE_SEQUENCE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "core/compensated_sum.h"
#include "core/limits.h"
#include "core/token_record.h"
#include "core/types.h"

namespace logitd {

// When a sequence ends.
struct StopRules {
  // Tokens that end the sequence (eos included, unless ignored), ascending and distinct.
  std::vector<TokenId> stop_token_ids;
  // No stop token may be chosen before this many tokens, [0, max_tokens].
  int32_t min_tokens = 0;
  // [1, kMaxTokens].
  int32_t max_tokens = kMaxTokens;
};

// Numbers are those of logitd.v1.FinishReason.
enum class FinishReason {
  kStopToken = 1,
  kMaxTokens = 2,
  kContextFull = 3,
  kNoAdmissibleToken = 4,
  kCancelled = 5,
  kStopString = 6,
  kTimeLimit = 7,
};

struct Finish {
  FinishReason reason = FinishReason::kStopToken;
  std::optional<TokenId> stop_token_id = std::nullopt;
  // kStopString: its place in the list, and the bytes of the last token that are not in the text.
  std::optional<int32_t> stop_string_index = std::nullopt;
  std::optional<int32_t> cut_byte_count = std::nullopt;
};

// The end of a sequence after its token_count-th token, `last`; unset: it goes on. A stop token wins over max_tokens.
std::optional<Finish> FinishAfter(TokenId last, int32_t token_count, const StopRules& rules);

// The sums that a sequence carries. With its tokens they suffice to resume it. Unset: not known, because nobody asked
// for it, or because some token has no such log-prob.
struct SequenceSums {
  std::optional<CompensatedSum> model = CompensatedSum{};
  std::optional<CompensatedSum> sampling = CompensatedSum{};

  // Adds a record's log-probs. An unset one unsets the sum for good.
  void Add(const TokenRecord& record);
};

// `sums` without those that `record` does not ask for.
SequenceSums WantedSums(const RecordOptions& record, SequenceSums sums);

// Thread-compatible.
class Sequence {
 public:
  Sequence() = default;
  // Goes on after `token_ids`, with the `sums` after them. Unless `keeps_tokens`, it keeps only their number and the
  // last one: at 4 bytes each, tokens would be most of a long sequence's memory.
  Sequence(std::vector<TokenId> token_ids, const SequenceSums& sums, bool keeps_tokens = true);
  // Goes on after that many tokens, which no stage looks at; it keeps none.
  Sequence(int32_t token_count, const SequenceSums& sums);

  // Position of the next token: the number of tokens so far.
  int32_t position() const { return position_; }
  // The tokens so far. Empty unless it keeps them.
  const std::vector<TokenId>& token_ids() const { return token_ids_; }
  bool keeps_tokens() const { return keeps_tokens_; }
  // Unset: there is none, or only their number is known.
  std::optional<TokenId> last_token() const { return last_token_; }
  const SequenceSums& sums() const { return sums_; }

  // Appends a token whose record.position is position().
  void Append(const TokenRecord& record);

 private:
  std::vector<TokenId> token_ids_;
  bool keeps_tokens_ = true;
  int32_t position_ = 0;
  std::optional<TokenId> last_token_;
  SequenceSums sums_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_SEQUENCE_H_
