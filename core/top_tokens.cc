#include "core/top_tokens.h"

#include <algorithm>
#include <array>
#include <cstddef>

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

std::span<const TokenId> TopTokens::Find(LogitsView row, int32_t n) {
  const size_t count = static_cast<size_t>(n);
  ids_.clear();
  if (n == 0) return ids_;
  packed_.clear();
  if (count * kFewShare <= row.size()) {
    kept_.Reset(row, {}, {});
    kept_.KeepFirst(n);
    kept_.ForEach(
        [&](TokenId token_id) { packed_.push_back(PackToken(row[static_cast<size_t>(token_id)], token_id)); });
  }
  // Not enough finite ones: tokens of -inf have the last key of all.
  if (packed_.size() < count) {
    packed_.resize(row.size());
    for (size_t i = 0; i < row.size(); ++i) packed_[i] = PackToken(row[i], static_cast<TokenId>(i));
  }
  if (packed_.size() < kRadixSize) {
    std::sort(packed_.begin(), packed_.end());
  } else {
    SortByKey();
  }
  ids_.resize(count);
  for (size_t i = 0; i < count; ++i) ids_[i] = static_cast<TokenId>(packed_[i] & 0xFFFFFFFF);
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
