// Decides how many tokens of long pieces go into a batch beside running sequences.
//
// A running sequence appends one token per batch; this is called a step (SequenceWork::is_step). Everything else in the
// batch, such as a part of a prompt, makes the steps wait. Each batch therefore has a time budget: three and a half
// times the time of its steps alone. The class learns two times from the batches that it sees:
//
// - the time of a batch of steps alone, for each number of steps;
// - the time that each token beside the steps adds.
//
// Pure arithmetic, without a clock. Not thread-safe.
#ifndef LOGITD_SERVER_MODELS_BATCH_BUDGET_H_
#define LOGITD_SERVER_MODELS_BATCH_BUDGET_H_

#include <chrono>
#include <map>
#include <optional>

namespace logitd::server {

class BatchBudget {
 public:
  // The contents of a batch.
  struct Content {
    // Next tokens of running sequences.
    int steps = 0;
    // All other tokens.
    int tokens = 0;
  };

  // `max_tokens`: the largest batch, steps included.
  explicit BatchBudget(int max_tokens) : max_tokens_(max_tokens) {}

  // How many other tokens may go beside `steps` steps. 0: send a batch of steps alone first, to learn its time.
  // `late`: sequences of the last steps that have not ended. If no step is ready, these may still come soon.
  int TokensBeside(int steps, int late = 0) const;
  // A batch has begun; a batch has been answered after `time`.
  void OnBegin(const Content& content);
  void OnEnd(const Content& content, std::chrono::duration<double> time);

 private:
  // Seconds of a batch of `steps` steps alone. Unset: not known yet.
  std::optional<double> TimeOf(int steps) const;

  const int max_tokens_;
  struct StepTime {
    std::optional<double> seconds;
    int samples = 0;
  };
  // Keyed by the number of steps.
  std::map<int, StepTime> step_times_;
  // Seconds that each token beside the steps adds. Unset: not known yet.
  std::optional<double> token_time_;
  // Tokens beside the steps in the last such batch.
  int last_tokens_ = 0;
  // Steps in the last batch that had any.
  int last_steps_ = 0;
  int batches_without_steps_ = 0;
  // Batches of steps and other tokens since the last batch of steps alone.
  int mixed_batches_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_BATCH_BUDGET_H_
