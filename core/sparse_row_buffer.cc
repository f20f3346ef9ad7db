#include "core/sparse_row_buffer.h"

#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"

namespace logitd {
namespace {

static_assert(std::endian::native == std::endian::little, "ids on the wire are little endian");

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

// What is wrong with the id of `slot`, whose predecessors are right.
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

absl::StatusOr<size_t> CountUsedSlots(std::span<const TokenId> ids, std::string_view field, int32_t vocab_size) {
  size_t used = 0;
  TokenId before = -1;
  while (used < ids.size() && ids[used] > before && ids[used] < vocab_size) before = ids[used++];
  for (size_t slot = used; slot < ids.size(); ++slot) {
    if (ids[slot] != kUnusedSlot) return WrongId(ids, slot, field, vocab_size);
  }
  return used;
}

absl::StatusOr<LogitsView> SparseRowBuffer::Assign(const char* id_bytes, std::span<const float> values,
                                                   int32_t vocab_size) {
  if (row_.size() == static_cast<size_t>(vocab_size)) {
    for (const TokenId id : listed_) row_[id] = kExcluded;
  } else {
    row_.assign(static_cast<size_t>(vocab_size), kExcluded);
  }
  // Nothing is listed until all ids are known to be right.
  std::vector<TokenId> ids = std::exchange(listed_, {});
  ids.resize(values.size());
  if (!ids.empty()) std::memcpy(ids.data(), id_bytes, ids.size() * sizeof(TokenId));
  ASSIGN_OR_RETURN(const size_t used, CountUsedSlots(ids, "logits.token_ids", vocab_size));
  ids.resize(used);
  for (size_t slot = 0; slot < used; ++slot) row_[ids[slot]] = values[slot];
  listed_ = std::move(ids);
  return LogitsView(row_);
}

}  // namespace logitd
