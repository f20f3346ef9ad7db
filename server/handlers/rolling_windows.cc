#include "server/handlers/rolling_windows.h"

#include <algorithm>

namespace logitd::server {

std::vector<RollingWindow> LmEvalWindows(int64_t count, int64_t window, int64_t stride) {
  std::vector<RollingWindow> windows = {{0, 1, std::min(count, window + 1)}};
  while (windows.back().end < count) {
    const int64_t first = windows.back().end;
    const int64_t end = std::min(count, first + stride);
    // As much context as there is room for, in the last window too.
    windows.push_back({end - 1 - window, first, end});
  }
  return windows;
}

std::vector<RollingWindow> StridedWindows(int64_t count, int64_t window, int64_t stride) {
  std::vector<RollingWindow> windows;
  int64_t scored = 1;
  for (int64_t begin = 0; scored < count; begin += stride) {
    const int64_t end = std::min(count, begin + window + 1);
    windows.push_back({begin, scored, end});
    scored = end;
  }
  return windows;
}

}  // namespace logitd::server
