// Finds where a truncation cuts a row: the last token of the shortest prefix, in the order (logit descending, id
// ascending), whose mass reaches a target. A token's mass is 1 (top-k) or its weight (top-p); masses are exact
// integers.
//
// Never a sort of the row. The largest logits of blocks (the first pass keeps them) bound from below where the prefix
// ends: often a few blocks hold all of it. If not, bounds taken from a sample bracket the cut, one pass over the row
// for four bounds, until few tokens are left in between; those are gathered and selected from. A run of equal logits
// is never gathered for selection: all its tokens have one mass, so the place in it is a division.
//
// Holds buffers that only grow: no allocation per row once warm. Thread-compatible.
#ifndef LOGITD_CORE_PREFIX_SEARCH_H_
#define LOGITD_CORE_PREFIX_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "core/types.h"

namespace logitd {

// The last token, in the order (logit descending, id ascending), that a truncation keeps.
struct Cut {
  float logit = -std::numeric_limits<float>::infinity();
  TokenId token_id = std::numeric_limits<TokenId>::max();

  bool Keeps(float other_logit, TokenId other_id) const {
    return other_logit > logit || (other_logit == logit && other_id <= token_id);
  }
};

// An unsigned integer that falls as the logit rises, so that the order of a truncation is the order of (key, id);
// neighbouring keys are neighbouring f32 values, both zeros have one. And back; to +0.
uint32_t DescendingKey(float logit);
float LogitOfKey(uint32_t key);

// The tokens that a prefix is taken of. A view; see kernels/row_kernels.h for the shapes.
struct PrefixTokens {
  LogitsView row;
  // Tokens that are in; empty: all. Those with a logit of -inf are not in, whatever it says.
  std::span<const uint64_t> mask;
  // No token of a block is larger.
  std::span<const float> block_max;
  // The mass of each token, 0 for those that are not in; empty: 1 each.
  std::span<const uint64_t> weights;
  // How many are in, >= 1.
  int32_t count = 0;
  // The mass of all of them.
  uint64_t total_mass = 0;
};

class PrefixSearch {
 public:
  // REQUIRES: target >= 1 and at most the mass of all tokens that are in.
  // Time: a few passes over the row at most, expected; O(vocab_size) for any row.
  Cut Find(const PrefixTokens& tokens, uint64_t target);

 private:
  // The cut is at one of the logits in [lowest, highest]; `above` < target is the mass of those that are larger.
  struct Bracket {
    float lowest = -std::numeric_limits<float>::max();
    float highest = std::numeric_limits<float>::max();
    uint64_t above = 0;
  };

  // The cut, if it is at or above the `rank`-th largest block maximum; else narrows `bracket` to what is below that.
  std::optional<Cut> FindInTopBlocks(size_t rank, uint64_t target, Bracket& bracket);
  // Narrows `bracket` to few tokens or one logit.
  void NarrowBySample(uint64_t target, Bracket& bracket);
  // Narrows `bracket` by one pass that compares the row with `bounds`.
  void NarrowBy(std::span<const float> bounds, uint64_t target, Bracket& bracket) const;
  void TakeSample(const Bracket& bracket);
  // Where in the sample the cut should be.
  size_t EstimatePlace(uint64_t target) const;
  // The cut among the tokens in ids_, which hold the bracket's.
  Cut SelectFromIds(uint64_t target, uint64_t above);
  // The same if all of them have one logit.
  Cut SelectTie(uint64_t target, uint64_t above) const;
  // Puts the ids of the tokens with lowest <= logit <= highest into ids_, ascending.
  void Collect(float lowest, float highest);

  uint64_t Mass(TokenId token_id) const { return tokens_.weights.empty() ? 1 : tokens_.weights[token_id]; }
  const uint64_t* mask() const { return tokens_.mask.empty() ? nullptr : tokens_.mask.data(); }

  PrefixTokens tokens_;
  std::vector<float> block_order_;
  // The first id_count_ entries are in use.
  std::vector<TokenId> ids_;
  size_t id_count_ = 0;
  // Tokens to select from and tokens of the sample: (key, id), packed so that their order is the prefix's.
  std::vector<uint64_t> candidates_;
  std::vector<uint64_t> sample_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_PREFIX_SEARCH_H_
