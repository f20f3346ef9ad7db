// A few gathered tokens of a row: ids ascending, with their logits and, once weighed, their weights.
//
//   list.Clear();
//   list.Collect(row, mask, block_max, lowest, highest);
//   list.Weigh(max, constants);
//
// Holds buffers that only grow: no allocation per row once warm. Thread-compatible.
#ifndef LOGITD_CORE_TOKEN_LIST_H_
#define LOGITD_CORE_TOKEN_LIST_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/row_kernels.h"
#include "core/logit_order.h"
#include "core/token_mask.h"
#include "core/types.h"

namespace logitd {

class TokenList {
 public:
  size_t size() const { return size_; }
  std::span<const TokenId> ids() const { return {ids_.data(), size_}; }
  std::span<const float> logits() const { return {logits_.data(), size_}; }
  // [size()] after Weigh.
  std::span<const uint64_t> weights() const { return {weights_.data(), size_}; }

  void Clear() { size_ = 0; }
  // Adds the tokens of `mask` in [begin, end) with lowest <= logit <= highest. Both bounds are finite.
  // REQUIRES: no token of a block is larger than its `block_max`; begin is a multiple of the block's size; the new
  // tokens come after those in the list.
  void Collect(LogitsView row, const TokenMask& mask, std::span<const float> block_max, float lowest, float highest,
               size_t begin = 0, size_t end = SIZE_MAX);
  // Adds the tokens of another list with lowest <= logit <= highest. REQUIRES: they come after those in this list.
  void Collect(const TokenList& list, float lowest, float highest);
  // Gives each token its weight, and returns their sum.
  uint64_t Weigh(float max, const kernels::ExpConstants& constants);
  uint64_t TotalWeight() const;

  // Removes every token for which keeps(logit, id) is false. No branch depends on a token.
  template <class Keeps>
  void Filter(const Keeps& keeps) {
    size_t kept = 0;
    for (size_t i = 0; i < size_; ++i) {
      const size_t keep = keeps(logits_[i], ids_[i]);
      ids_[kept] = ids_[i];
      logits_[kept] = logits_[i];
      weights_[kept] = weights_[i];
      kept += keep;
    }
    size_ = kept;
  }

  // The place of `token_id`; -1: it is not in the list. Time: O(log size()).
  ptrdiff_t Find(TokenId token_id) const;

 private:
  void MakeRoom(size_t size);

  size_t size_ = 0;
  // Not shorter than size_.
  std::vector<TokenId> ids_;
  std::vector<float> logits_;
  std::vector<uint64_t> weights_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_TOKEN_LIST_H_
