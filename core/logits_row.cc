#include "core/logits_row.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/errors.h"

namespace logitd {
namespace {

// The error of the id of `slot`, if all ids before it are right.
absl::Status WrongId(std::span<const TokenId> ids, size_t slot, std::string_view field, int32_t vocab_size) {
  const std::string element = std::string(field) + "[" + std::to_string(slot) + "]";
  const TokenId id = ids[slot];
  if (id < kUnusedSlot || id >= vocab_size) return errors::TokenIdOutOfRange(element, id, vocab_size);
  const TokenId before = ids[slot - 1];
  if (before == kUnusedSlot) return errors::OutOfRange(element, int64_t{id}, "-1, as the unused slot before it");
  if (before == id) return errors::DuplicateTokenId(element, id);
  return errors::OutOfRange(element, int64_t{id}, "> " + std::to_string(before) + ", the id before it");
}

}  // namespace

LogitsRow LogitsRow::Sparse(LogitsView logits, std::span<const TokenId> token_ids, int32_t vocab_size) {
  LogitsRow row;
  row.slots_ = logits;
  row.ids_ = token_ids;
  row.vocab_size_ = vocab_size;
  row.is_sparse_ = true;
  return row;
}

float LogitsRow::operator[](TokenId token_id) const {
  const int32_t slot = SlotOf(token_id);
  return slot < 0 ? -std::numeric_limits<float>::infinity() : slots_[static_cast<size_t>(slot)];
}

LogitsRow LogitsRow::WithLogits(LogitsView logits) const {
  LogitsRow row = *this;
  row.slots_ = logits;
  return row;
}

int32_t LogitsRow::FindSlot(TokenId token_id) const {
  const auto found = std::ranges::lower_bound(ids_, token_id);
  return found != ids_.end() && *found == token_id ? static_cast<int32_t>(found - ids_.begin()) : -1;
}

absl::StatusOr<size_t> CountUsedSlots(std::span<const TokenId> ids, std::string_view field, int32_t vocab_size) {
  size_t used = 0;
  TokenId before = -1;
  while (used < ids.size() && ids[used] > before && ids[used] < vocab_size) before = ids[used++];
  for (size_t slot = used; slot < ids.size(); ++slot) {
    if (ids[slot] != kUnusedSlot) return WrongId(ids, slot, field, vocab_size);
  }
  return used;
}

}  // namespace logitd
