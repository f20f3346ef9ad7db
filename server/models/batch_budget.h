// How many tokens of long pieces go into a batch beside running sequences.
//
// A running sequence appends one token a batch, a step (SequenceWork::is_step). What else is in the batch, a prompt for
// instance, makes it wait. So the batch has a budget in time: three and a half times what the steps alone take. What a
// batch takes is learned: the time of batches with steps alone, for each number of steps, and what each token beside
// them adds.
//
// Numbers only; not thread-safe.
#ifndef LOGITD_SERVER_MODELS_BATCH_BUDGET_H_
#define LOGITD_SERVER_MODELS_BATCH_BUDGET_H_

#include <chrono>
#include <map>
#include <optional>

namespace logitd::server {

class BatchBudget {
 public:
  // What a batch holds.
  struct Content {
    // Of running sequences.
    int steps = 0;
    // The tokens of all others.
    int tokens = 0;
  };

  // `max_tokens`: of a batch, all together.
  explicit BatchBudget(int max_tokens) : max_tokens_(max_tokens) {}

  // How many tokens may be beside so many steps that are ready; 0: a batch of steps alone comes first, to learn from.
  // `late`: sequences of the last steps that have not ended. If none is ready they may come soon.
  int TokensBeside(int steps, int late = 0) const;
  // A batch has begun, or has been answered after so long.
  void OnBegin(const Content& content);
  void OnEnd(const Content& content, std::chrono::duration<double> time);

 private:
  // Seconds of so many steps alone, as far as they are known.
  std::optional<double> TimeOf(int steps) const;

  const int max_tokens_;
  struct StepTime {
    std::optional<double> seconds;
    int samples = 0;
  };
  // By the number of steps.
  std::map<int, StepTime> step_times_;
  // Seconds.
  std::optional<double> token_time_;
  // Beside steps, the last time.
  int last_tokens_ = 0;
  // Of the last batch that had some.
  int last_steps_ = 0;
  int batches_without_steps_ = 0;
  // With steps and other tokens, since the last one of steps alone.
  int mixed_batches_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_BATCH_BUDGET_H_
