#include "core/top_tokens.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "core/logit_order.h"

namespace logitd {
namespace {

// More than this part of a row: the row is sorted as a whole.
constexpr size_t kFewShare = 16;
// Fewer are sorted faster by comparing them.
constexpr size_t kRadixSize = 1024;

// The key, the upper half of a packed token, digit by digit.
constexpr int kDigitBits = 11;
constexpr size_t kDigitCount = 3;
constexpr size_t kDigitValues = size_t{1} << kDigitBits;

size_t DigitOf(uint64_t packed, size_t digit) {
  return (packed >> (32 + kDigitBits * static_cast<int>(digit))) & (kDigitValues - 1);
}

}  // namespace

std::span<const TokenId> TopTokens::Find(const LogitsRow& row, int32_t n) {
  const size_t count = static_cast<size_t>(n);
  ids_.clear();
  if (n == 0) return ids_;
  ids_.reserve(count);
  packed_.clear();
  const LogitsView slots = row.slots();
  if (count * kFewShare <= slots.size()) {
    kept_.Reset(slots, {}, {});
    kept_.KeepFirst(n);
    kept_.ForEach([&](int32_t slot) { packed_.push_back(PackToken(slots[static_cast<size_t>(slot)], slot)); });
  } else {
    packed_.reserve(slots.size());
    for (size_t i = 0; i < slots.size(); ++i) {
      if (slots[i] > kExcludedLogit) packed_.push_back(PackToken(slots[i], static_cast<int32_t>(i)));
    }
  }
  if (packed_.size() < kRadixSize) {
    std::sort(packed_.begin(), packed_.end());
  } else {
    SortByKey();
  }
  for (size_t i = 0; i < std::min(count, packed_.size()); ++i) {
    ids_.push_back(row.IdOf(static_cast<int32_t>(packed_[i] & 0xFFFFFFFF)));
  }
  // Not enough finite ones.
  for (size_t token_id = 0, slot = 0; ids_.size() < count; ++token_id) {
    const bool is_listed =
        slot < slots.size() && row.IdOf(static_cast<int32_t>(slot)) == static_cast<TokenId>(token_id);
    if (!is_listed || slots[slot] == kExcludedLogit) ids_.push_back(static_cast<TokenId>(token_id));
    slot += is_listed;
  }
  return ids_;
}

void TopTokens::SortByKey() {
  std::array<std::array<uint32_t, kDigitValues>, kDigitCount> places{};
  for (uint64_t packed : packed_) {
    for (size_t digit = 0; digit < kDigitCount; ++digit) ++places[digit][DigitOf(packed, digit)];
  }
  spare_.resize(packed_.size());
  // The lowest digit first: each pass leaves tokens with the same digit in the order that they have.
  for (size_t digit = 0; digit < kDigitCount; ++digit) {
    std::array<uint32_t, kDigitValues>& place = places[digit];
    if (place[DigitOf(packed_[0], digit)] == packed_.size()) continue;
    uint32_t before = 0;
    for (uint32_t& next : place) {
      const uint32_t count = next;
      next = before;
      before += count;
    }
    for (uint64_t packed : packed_) spare_[place[DigitOf(packed, digit)]++] = packed;
    std::swap(packed_, spare_);
  }
}

}  // namespace logitd
