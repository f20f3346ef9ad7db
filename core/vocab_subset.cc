#include "core/vocab_subset.h"

#include <bit>
#include <string>

#include "core/errors.h"

namespace logitd {

VocabSubset::VocabSubset(int32_t vocab_size) : vocab_size_(vocab_size) {
  mask_.AssignNone(static_cast<size_t>(vocab_size));
}

void VocabSubset::CountTokens() {
  size_ = 0;
  for (uint64_t word : mask_.words()) size_ += std::popcount(word);
}

absl::StatusOr<VocabSubset> VocabSubset::Of(int32_t vocab_size, std::span<const TokenId> token_ids) {
  if (token_ids.empty()) return errors::EmptyTokenSet("token_ids");
  VocabSubset subset(vocab_size);
  for (size_t i = 0; i < token_ids.size(); ++i) {
    const TokenId token_id = token_ids[i];
    const auto field = [i] { return "token_ids[" + std::to_string(i) + "]"; };
    if (token_id < 0 || token_id >= vocab_size) return errors::TokenIdOutOfRange(field(), token_id, vocab_size);
    if (subset.Contains(token_id)) return errors::DuplicateTokenId(field(), token_id);
    subset.mask_.Set(token_id);
  }
  subset.CountTokens();
  return subset;
}

absl::StatusOr<VocabSubset> VocabSubset::OfBitmask(int32_t vocab_size, std::string_view bitmask) {
  const size_t expected = (static_cast<size_t>(vocab_size) + 7) / 8;
  if (bitmask.size() != expected) {
    return errors::OutOfRange("bitmask", static_cast<int64_t>(bitmask.size()), std::to_string(expected) + " bytes");
  }
  VocabSubset subset(vocab_size);
  for (size_t i = 0; i < bitmask.size(); ++i) {
    subset.mask_.words()[i / 8] |= uint64_t{static_cast<unsigned char>(bitmask[i])} << (i % 8 * 8);
  }
  const int used_bits = vocab_size % 64;
  const uint64_t spare = used_bits == 0 ? 0 : subset.mask_.words().back() >> used_bits;
  if (spare != 0) {
    return errors::OutOfRange("bitmask", int64_t{vocab_size} + std::countr_zero(spare),
                              "a set of bits in [0, " + std::to_string(vocab_size) + ")");
  }
  subset.CountTokens();
  if (subset.size_ == 0) return errors::EmptyTokenSet("bitmask");
  return subset;
}

VocabSubset VocabSubset::All(int32_t vocab_size) {
  VocabSubset subset(vocab_size);
  subset.mask_.AssignAll(static_cast<size_t>(vocab_size));
  if (vocab_size % 64 != 0) subset.mask_.words().back() = (uint64_t{1} << (vocab_size % 64)) - 1;
  subset.size_ = vocab_size;
  return subset;
}

VocabSubset VocabSubset::Without(const VocabSubset& other) const {
  VocabSubset subset(vocab_size_);
  for (size_t i = 0; i < mask_.words().size(); ++i) subset.mask_.words()[i] = mask_.word(i) & ~other.mask_.word(i);
  subset.CountTokens();
  return subset;
}

}  // namespace logitd
