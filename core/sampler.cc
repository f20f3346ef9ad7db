#include "core/sampler.h"

#include <algorithm>
#include <cstddef>
#include <span>

namespace logitd {

TokenId Sample(const Distribution& distribution, uint64_t uniform) {
  // Sums of whole blocks first: the compiler adds them in vectors, and one block alone is walked token by token.
  constexpr size_t kBlock = 1024;
  const std::span<const uint64_t> weights = distribution.weights();
  const uint64_t r =
      static_cast<uint64_t>((static_cast<unsigned __int128>(uniform) * distribution.total_weight()) >> 64);
  uint64_t before = 0;
  for (size_t start = 0; start < weights.size(); start += kBlock) {
    const size_t end = std::min(weights.size(), start + kBlock);
    uint64_t sum = 0;
    for (size_t i = start; i < end; ++i) sum += weights[i];
    if (r - before >= sum) {
      before += sum;
      continue;
    }
    for (size_t i = start;; ++i) {
      if (r - before < weights[i]) return static_cast<TokenId>(i);
      before += weights[i];
    }
  }
  // Not reached: r < total_weight, which is the sum of all weights.
  return distribution.argmax();
}

}  // namespace logitd
