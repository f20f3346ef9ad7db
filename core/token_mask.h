// A set of the tokens of a row: one bit for each, or every token.
//
//   TokenMask mask;             // every token: it has no words
//   mask.AssignNone(row.size());
//   mask.Set(7);
//   mask.Contains(7);           // true
//
// Bit i mod 64 of word i / 64 is token i; there are size / 64 words, rounded up. Bits beyond the last token are
// unspecified unless a user of the mask says otherwise. Nothing is checked. Thread-compatible value.
#ifndef LOGITD_CORE_TOKEN_MASK_H_
#define LOGITD_CORE_TOKEN_MASK_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/types.h"

namespace logitd {

class TokenMask {
 public:
  static constexpr size_t kWordBits = 64;
  static constexpr size_t WordCount(size_t size) { return (size + kWordBits - 1) / kWordBits; }

  TokenMask() = default;
  explicit TokenMask(std::vector<uint64_t> words) : words_(std::move(words)) {}

  // Every token, without a bit for each. The words' memory is kept, as by all functions here.
  void AssignEvery() { words_.clear(); }
  bool is_every() const { return words_.empty(); }
  // Every token, and none, of a row of `size` tokens, with a bit for each.
  void AssignAll(size_t size) { words_.assign(WordCount(size), ~uint64_t{0}); }
  void AssignNone(size_t size) { words_.assign(WordCount(size), 0); }

  bool Contains(TokenId token_id) const { return is_every() || ((words_[Word(token_id)] & Bit(token_id)) != 0); }
  // REQUIRES: !is_every().
  void Set(TokenId token_id) { words_[Word(token_id)] |= Bit(token_id); }
  void Clear(TokenId token_id) { words_[Word(token_id)] &= ~Bit(token_id); }
  // Without a branch: whether a token stays cannot be predicted.
  void ClearUnless(TokenId token_id, bool stays) {
    words_[Word(token_id)] &= ~(uint64_t{!stays} << (static_cast<size_t>(token_id) % kWordBits));
  }
  // Clears every token that is not in `other`. REQUIRES: as Set; `other` is of a row of the same size.
  void Intersect(const TokenMask& other) {
    for (size_t i = 0; i < other.words_.size(); ++i) words_[i] &= other.words_[i];
  }

  // The 64 tokens from 64 i on.
  uint64_t word(size_t i) const { return is_every() ? ~uint64_t{0} : words_[i]; }
  // Empty if is_every().
  std::span<const uint64_t> words() const { return words_; }
  std::span<uint64_t> words() { return words_; }
  // For the kernels (core/kernels/row_kernels.h): null if is_every().
  const uint64_t* bits() const { return is_every() ? nullptr : words_.data(); }

 private:
  static size_t Word(TokenId token_id) { return static_cast<size_t>(token_id) / kWordBits; }
  static uint64_t Bit(TokenId token_id) { return uint64_t{1} << (static_cast<size_t>(token_id) % kWordBits); }

  std::vector<uint64_t> words_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_TOKEN_MASK_H_
