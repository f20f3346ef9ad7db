// Sparse rows -> the dense row that each of them stands for: -inf wherever no id is listed.
//
//   SparseRowBuffer buffer;  // one for many rows
//   ASSIGN_OR_RETURN(LogitsView row, buffer.Assign(id_bytes, values, vocab_size));
//
// A sparse row is `values.size()` slots, each a value and the token id that it belongs to. Used slots come first, their
// ids strictly ascending and in [0, vocab_size); an unused slot has the id kUnusedSlot, and any value. Values are not
// looked at: NaN and +inf in a used slot are found where those of a dense row are (core/types.h).
//
// A row costs its slots, not its vocabulary: only the ids of the row before are set back to -inf. The whole vocabulary
// is filled once, and again when its size changes. Memory: 4 bytes a token and 4 bytes a slot of the largest row so
// far.
//
// Thread-compatible.
#ifndef LOGITD_CORE_SPARSE_ROW_BUFFER_H_
#define LOGITD_CORE_SPARSE_ROW_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/types.h"

namespace logitd {

// The id of a slot that is not used.
inline constexpr TokenId kUnusedSlot = -1;

// How many of the slots with these ids are used, in [0, ids.size()]. The first wrong id decides the error:
// TOKEN_ID_OUT_OF_RANGE (neither in [0, vocab_size) nor kUnusedSlot), DUPLICATE_TOKEN_ID (that of the slot before),
// FIELD_OUT_OF_RANGE (below that of the slot before, or after an unused slot), of the field "`field`[slot]".
absl::StatusOr<size_t> CountUsedSlots(std::span<const TokenId> ids, std::string_view field, int32_t vocab_size);

class SparseRowBuffer {
 public:
  // The dense row, shape [vocab_size]; it holds until the next call. `id_bytes`: the ids of the slots, int32, little
  // endian, at any address. `values`: of the slots, in the same order. Neither is kept. Errors: those of
  // CountUsedSlots, of "logits.token_ids[slot]"; the buffer then serves the next row as well as ever. REQUIRES:
  // vocab_size >= 1; `id_bytes` holds 4 * values.size() bytes.
  absl::StatusOr<LogitsView> Assign(const char* id_bytes, std::span<const float> values, int32_t vocab_size);

 private:
  // -inf, but for `listed_`.
  std::vector<float> row_;
  // Those of the row, in [0, row_.size()).
  std::vector<TokenId> listed_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_SPARSE_ROW_BUFFER_H_
