// How windows are laid over a text that is longer than the model's context.
//
// Example: LM_EVAL, 10 tokens, window 4, stride 3, where P stands before the text:
//
//   fed          P 0 1 2      scores 0 1 2 3
//   fed          2 3 4 5      scores     4 5 6      (2 and 3 are context)
//   fed          5 6 7 8      scores     7 8 9
//
// STRIDED, 10 tokens, window 4, stride 3:
//
//   fed          0 1 2 3      scores   1 2 3 4
//   fed          3 4 5 6      scores       5 6 7
//   fed          6 7 8        scores         8 9
//
// Pure computation.
#ifndef LOGITD_SERVER_HANDLERS_ROLLING_WINDOWS_H_
#define LOGITD_SERVER_HANDLERS_ROLLING_WINDOWS_H_

#include <cstdint>
#include <vector>

namespace logitd::server {

// Tokens [begin, first) are the context, and tokens [first, end) are scored. The last of them is not fed. Indices count
// from the token that stands before the text, if there is one.
struct RollingWindow {
  int64_t begin = 0;
  int64_t first = 0;
  int64_t end = 0;
};

// The windows of lm-evaluation-harness over `count` tokens, of which the first stands before the text and is not
// scored. REQUIRES: count >= 2, 1 <= stride <= window.
std::vector<RollingWindow> LmEvalWindows(int64_t count, int64_t window, int64_t stride);

// Windows that begin every `stride` tokens. The first token is not scored. REQUIRES: as LmEvalWindows.
std::vector<RollingWindow> StridedWindows(int64_t count, int64_t window, int64_t stride);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_ROLLING_WINDOWS_H_
