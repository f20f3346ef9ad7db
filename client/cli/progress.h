// A line on a terminal that shows how far a long job is and when it will be done.
#ifndef LOGITD_CLIENT_CLI_PROGRESS_H_
#define LOGITD_CLIENT_CLI_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "client/cli/environment.h"

namespace logitd::cli {

// "score  [██████      ]  50%  120 items  31.5 items/s  ETA 0:04". The bar, the share and the ETA are left out if the
// input's size is unknown.
std::string ProgressLine(const std::string& what, int64_t items, int64_t bytes, std::optional<int64_t> total_bytes,
                         std::chrono::milliseconds elapsed);

// Draws on standard error, over itself, at most ten times a second. Draws nothing if standard error is no terminal. One
// thread.
class Progress {
 public:
  Progress(std::string what, Environment& environment);
  // Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `items` done, from the first `bytes` of standard input.
  void Update(int64_t items, int64_t bytes);
  // Clears the line, so that something else can be printed.
  void Clear();

 private:
  std::string what_;
  Environment& environment_;
  std::chrono::steady_clock::time_point start_;
  std::optional<std::chrono::steady_clock::time_point> drawn_;
  bool visible_ = false;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_PROGRESS_H_
