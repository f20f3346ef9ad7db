// A line on a terminal that shows how far a long job is and when it will be done.
#ifndef LOGITD_CLIENT_CLI_PROGRESS_H_
#define LOGITD_CLIENT_CLI_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "client/cli/environment.h"

namespace logitd::cli {

// How far a job is.
struct JobState {
  // Items done, and how many of them an earlier job has left.
  int64_t items = 0;
  int64_t resumed = 0;
  // Items altogether. Unset: not known.
  std::optional<int64_t> total = std::nullopt;
  // The part of the job that is done, in [0, 1]. Unset: not known.
  std::optional<double> share = std::nullopt;
  // Since this job began.
  std::chrono::milliseconds elapsed{0};
};

// "score  [██████      ]  50%  120/240 items  31.5 items/s  ETA 0:04". The bar, the share and the ETA are left out if
// the share is not known. Rate and ETA count this job's items alone. A line of more than `width` columns loses its
// less important parts; 0: any width.
std::string ProgressLine(const std::string& what, const JobState& state, int width = 0);

// "0:04", "1:02:03", from seconds.
std::string ShowDuration(double seconds);

// Draws on standard error, over itself, at most ten times a second. One thread.
class Progress {
 public:
  // Where standard error is no terminal.
  enum Elsewhere {
    kNothing,
    // A line of its own every ten seconds.
    kPlainLines,
  };

  Progress(std::string what, Environment& environment, Elsewhere elsewhere = kNothing);
  // Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `items` done, from the first `bytes` of standard input.
  void Update(int64_t items, int64_t bytes);
  // `items` of `total` done, of which an earlier job has left `resumed`.
  void UpdateItems(int64_t items, int64_t total, int64_t resumed);
  // Clears the line, so that something else can be printed.
  void Clear();

  // Since the job began.
  std::chrono::milliseconds elapsed() const;

 private:
  void Draw(JobState state);

  std::string what_;
  Environment& environment_;
  const Elsewhere elsewhere_;
  std::chrono::steady_clock::time_point start_;
  std::optional<std::chrono::steady_clock::time_point> drawn_;
  bool visible_ = false;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_PROGRESS_H_
