// The first tokens of a row in the order of logits, one by one.
//
//   TopTokens top_tokens;  // reused for every row: it keeps its buffers
//   for (TokenId token_id : top_tokens.Find(row, 20)) ...
//
// Thread-compatible: working space of one thread.
#ifndef LOGITD_CORE_TOP_TOKENS_H_
#define LOGITD_CORE_TOP_TOKENS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/kept_tokens.h"
#include "core/logits_row.h"
#include "core/types.h"

namespace logitd {

class TopTokens {
 public:
  // The first n tokens (logit descending, id ascending); tokens of -inf come last. Holds until the next call.
  // REQUIRES: 0 <= n <= row.vocab_size(); no logit is NaN or +inf, some logit is finite.
  // Time: O(slots + n log n) for a few tokens, O(slots) from a sixteenth of the row on, and O(vocabulary) if tokens of
  // -inf are among them. A whole vocabulary is sorted without comparisons. No allocation once warm. Memory: 20 bytes
  // for each slot of a row that is sorted as a whole.
  std::span<const TokenId> Find(const LogitsRow& row, int32_t n);

 private:
  // Sorts packed_ by its keys, ascending; equal keys stay in their order.
  void SortByKey();

  KeptTokens kept_;
  // Finite logits and their slots, packed (core/logit_order.h), slots ascending until they are sorted.
  std::vector<uint64_t> packed_;
  std::vector<uint64_t> spare_;
  std::vector<TokenId> ids_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_TOP_TOKENS_H_
