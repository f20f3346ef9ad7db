// One row of a model's output, dense or sparse.
//
//   const LogitsRow dense = logits;                                              // logits[i] is of token i
//   const LogitsRow sparse = LogitsRow::Sparse(values, token_ids, vocab_size);   // values[i] is of token_ids[i]
//   float logit = sparse[token_id];                                              // -inf if it is not listed
//
// - A row is a list of slots. A slot is a logit and its token id; ids ascend.
// - A sparse row means the dense row with -inf for every id that is not listed. Passes run over the slots, so it costs
//   time for listed tokens only.
// - Slots are in the order of ids, so the order (logit descending, id ascending) is the same in slots. Weights are
//   added up as integers, so tokens of -inf change no bit of a sum.
//
// A view: its arrays must outlive it. Source: docs/numerics.md, "Input".
#ifndef LOGITD_CORE_LOGITS_ROW_H_
#define LOGITD_CORE_LOGITS_ROW_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/status/statusor.h"
#include "core/types.h"

namespace logitd {

class LogitsRow {
 public:
  LogitsRow() = default;
  // Dense: shape [vocab_size]. Not explicit, because most rows are dense.
  template <typename Logits>
  requires std::convertible_to<const Logits&, LogitsView> &&
      (!std::same_as<std::remove_cvref_t<Logits>, LogitsRow>)LogitsRow(const Logits& logits)
      : slots_(logits), vocab_size_(static_cast<int32_t>(slots_.size())), is_sparse_(false) {}
  // Shapes: logits [slots], token_ids [slots]. REQUIRES: ids are strictly ascending, in [0, vocab_size)
  // (CountUsedSlots); vocab_size >= 1.
  static LogitsRow Sparse(LogitsView logits, std::span<const TokenId> token_ids, int32_t vocab_size);

  int32_t vocab_size() const { return vocab_size_; }
  // The logits of the slots. A sparse row may have none.
  LogitsView slots() const { return slots_; }
  // REQUIRES: 0 <= slot < slots().size().
  TokenId IdOf(int32_t slot) const { return is_sparse_ ? ids_[static_cast<size_t>(slot)] : slot; }
  // -1 if the token is not listed. A binary search in a sparse row. REQUIRES: 0 <= token_id < vocab_size().
  int32_t SlotOf(TokenId token_id) const { return is_sparse_ ? FindSlot(token_id) : token_id; }
  // The token's logit; -inf if it is not listed. REQUIRES: as SlotOf.
  float operator[](TokenId token_id) const;
  bool is_sparse() const { return is_sparse_; }

  // The same tokens with other logits, [slots].
  LogitsRow WithLogits(LogitsView logits) const;

 private:
  int32_t FindSlot(TokenId token_id) const;

  LogitsView slots_;
  // Of a sparse row.
  std::span<const TokenId> ids_;
  int32_t vocab_size_ = 0;
  bool is_sparse_ = false;
};

// The id of an unused slot on the wire.
inline constexpr TokenId kUnusedSlot = -1;

// The number of used slots among those with these ids, in [0, ids.size()]. Used slots come first; their ids are
// strictly ascending and in [0, vocab_size). The first wrong id decides the error: TOKEN_ID_OUT_OF_RANGE (neither in
// [0, vocab_size) nor kUnusedSlot), DUPLICATE_TOKEN_ID (that of the slot before), FIELD_OUT_OF_RANGE (below that of the
// slot before, or after an unused slot), of the field "`field`[slot]".
absl::StatusOr<size_t> CountUsedSlots(std::span<const TokenId> ids, std::string_view field, int32_t vocab_size);

// Memory for one row that cannot be read where it lies. Steps use it row after row, so that none allocates. It grows to
// the largest row, at most 8 bytes for each slot; its content between two rows has no meaning. Thread-compatible.
struct RowBuffers {
  // The values of the slots, widened or aligned.
  std::vector<float> values;
  // The ids of the slots of a sparse row, aligned.
  std::vector<TokenId> ids;
};

}  // namespace logitd

#endif  // LOGITD_CORE_LOGITS_ROW_H_
