// The tokens that may be chosen.
//
//   ASSIGN_OR_RETURN(VocabSubset subset, VocabSubset::Of(vocab_size, {7, 9}));
//   subset.Contains(7);  // true
//
// An immutable bitmap of vocab_size bits: [vocab_size / 64, rounded up] words, bit i mod 64 of word i / 64 is token i.
// Thread-safe once made.
#ifndef LOGITD_CORE_VOCAB_SUBSET_H_
#define LOGITD_CORE_VOCAB_SUBSET_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/token_mask.h"
#include "core/types.h"

namespace logitd {

class VocabSubset {
 public:
  // Exactly `token_ids`, in any order.
  // Errors: TOKEN_ID_OUT_OF_RANGE, DUPLICATE_TOKEN_ID (fields "token_ids[i]"), EMPTY_TOKEN_SET ("token_ids").
  static absl::StatusOr<VocabSubset> Of(int32_t vocab_size, std::span<const TokenId> token_ids);
  // Bit i mod 8 of byte i / 8 is token i. Errors: FIELD_OUT_OF_RANGE if the length is not ceil(vocab_size / 8) or a
  // spare bit is set (field "bitmask"), EMPTY_TOKEN_SET.
  static absl::StatusOr<VocabSubset> OfBitmask(int32_t vocab_size, std::string_view bitmask);
  // Every token of the vocabulary.
  static VocabSubset All(int32_t vocab_size);

  // The tokens of this set that are not in `other`; may be empty. REQUIRES: same vocab_size.
  VocabSubset Without(const VocabSubset& other) const;

  // REQUIRES: 0 <= token_id < vocab_size().
  bool Contains(TokenId token_id) const { return mask_.Contains(token_id); }
  // Number of tokens in it.
  int32_t size() const { return size_; }
  int32_t vocab_size() const { return vocab_size_; }
  // With a bit for each token; spare bits of the last word are 0.
  const TokenMask& mask() const { return mask_; }

 private:
  explicit VocabSubset(int32_t vocab_size);
  void CountTokens();

  int32_t vocab_size_ = 0;
  int32_t size_ = 0;
  TokenMask mask_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_VOCAB_SUBSET_H_
