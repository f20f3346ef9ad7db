#include "core/token_history.h"

#include <algorithm>
#include <cstddef>

namespace logitd {

void FindSuffixMatches(const TokenHistory& history, std::vector<int32_t>& lengths) {
  const size_t size = history.size();
  lengths.assign(size, 0);
  // Of the matches so far the one that reaches farthest back: tokens [start, end) from the end equal those from 0 on.
  size_t start = 0, end = 0;
  for (size_t k = 1; k < size; ++k) {
    size_t length = k < end ? std::min<size_t>(lengths[k - start], end - k) : 0;
    while (k + length < size && history.Back(length) == history.Back(k + length)) ++length;
    lengths[k] = static_cast<int32_t>(length);
    if (k + length > end) {
      start = k;
      end = k + length;
    }
  }
}

}  // namespace logitd
