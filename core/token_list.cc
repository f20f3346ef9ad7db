#include "core/token_list.h"

#include <algorithm>

namespace logitd {
namespace {

constexpr size_t kMostBlocks = 16;

}  // namespace

void TokenList::Collect(LogitsView row, const TokenMask& mask, std::span<const float> block_max, float lowest,
                        float highest, size_t begin, size_t end) {
  const kernels::RowKernels& kernels = kernels::ActiveKernels();
  end = std::min(end, row.size());
  const size_t first = size_;
  for (size_t start = begin; start < end;) {
    if (block_max[start / kernels::kBlockSize] < lowest) {
      start += kernels::kBlockSize;
      continue;
    }
    // Consecutive blocks are one call, up to a number of them, because all of their tokens need room.
    const size_t limit = std::min(end, start + kMostBlocks * kernels::kBlockSize);
    size_t stop = start;
    while (stop < limit && block_max[stop / kernels::kBlockSize] >= lowest) stop += kernels::kBlockSize;
    stop = std::min(stop, end);
    MakeRoom(size_ + (stop - start) + kernels::kCollectPadding);
    size_ += kernels.collect(row.data(), start, stop, mask.bits(), lowest, highest, ids_.data() + size_);
    start = stop;
  }
  kernels.gather(row.data(), ids_.data() + first, size_ - first, logits_.data() + first);
}

void TokenList::Collect(const TokenList& list, float lowest, float highest) {
  for (size_t i = 0; i < list.size_; ++i) {
    if (!(lowest <= list.logits_[i] && list.logits_[i] <= highest)) continue;
    MakeRoom(size_ + 1);
    ids_[size_] = list.ids_[i];
    logits_[size_] = list.logits_[i];
    weights_[size_] = list.weights_[i];
    ++size_;
  }
}

void TokenList::MakeRoom(size_t size) {
  if (ids_.size() >= size) return;
  size = std::max(size, 2 * ids_.size());
  ids_.resize(size);
  logits_.resize(size);
  weights_.resize(size);
}

uint64_t TokenList::Weigh(float max, const kernels::ExpConstants& constants) {
  return kernels::ActiveKernels().weigh(logits_.data(), size_, max, constants, weights_.data());
}

uint64_t TokenList::TotalWeight() const {
  uint64_t total = 0;
  for (size_t i = 0; i < size_; ++i) total += weights_[i];
  return total;
}

ptrdiff_t TokenList::Find(TokenId token_id) const {
  const auto end = ids_.begin() + static_cast<ptrdiff_t>(size_);
  const auto found = std::lower_bound(ids_.begin(), end, token_id);
  return found == end || *found != token_id ? -1 : found - ids_.begin();
}

}  // namespace logitd
