#include "server/models/batch_budget.h"

#include <algorithm>
#include <iterator>

namespace logitd::server {
namespace {

// The time of a batch with other tokens, as a multiple of the time of its steps alone. A prompt whose tokens take a
// tenth of a step each then advances at two thirds of its full speed.
constexpr double kStretch = 3.5;
// Tokens beside the steps while the time of a token is not known.
constexpr int kFirstTokens = 16;
// Tokens beside the steps even if they are slow: a prompt must come to its end.
constexpr int kFewestTokens = 4;
// Batches of steps alone that are needed to know their time: a single one may have been slow for another reason.
constexpr int kSamples = 2;
// After this many batches with other tokens, a batch of steps alone is measured again.
constexpr int kBatchesToMeasure = 16;
// A sequence that misses a batch or two, because of its client or the machine's scheduler, still counts as running.
constexpr int kBatchesToBeGone = 2;
// The weight of a new measurement; older ones have the rest.
constexpr double kNewWeight = 0.4;

// A shorter time is believed at once: something else must have made the earlier ones longer.
void LearnTime(double value, std::optional<double>& mean) {
  mean = mean && value > *mean ? *mean + kNewWeight * (value - *mean) : value;
}

void Learn(double value, std::optional<double>& mean) { mean = mean ? *mean + kNewWeight * (value - *mean) : value; }

}  // namespace

std::optional<double> BatchBudget::TimeOf(int steps) const {
  // The time of fewer steps is a lower bound, so in doubt the budget is smaller.
  for (auto known = step_times_.upper_bound(steps); known != step_times_.begin();) {
    --known;
    if (known->second.samples >= kSamples) return known->second.seconds;
  }
  return std::nullopt;
}

int BatchBudget::TokensBeside(int steps, int late) const {
  const bool is_idle = steps == 0;
  if (is_idle && batches_without_steps_ < kBatchesToBeGone) steps = std::min(last_steps_, late);
  if (steps == 0) return max_tokens_;
  const std::optional<double> step_time = TimeOf(steps);
  // Nothing waits for such a batch yet, and even without steps it yields a measurement.
  if (!step_time) return is_idle ? std::min(kFirstTokens, max_tokens_) : 0;
  if (!is_idle && mixed_batches_ >= kBatchesToMeasure) return 0;
  if (!token_time_) return std::min(kFirstTokens, max_tokens_);
  const double tokens = (kStretch - 1) * *step_time / *token_time_;
  // A time learned from a few tokens is not trusted for many.
  const int most = std::min(std::max(2 * last_tokens_, kFirstTokens), max_tokens_);
  return tokens >= most ? most : std::max(static_cast<int>(tokens), std::min(kFewestTokens, most));
}

void BatchBudget::OnBegin(const Content& content) {
  if (content.steps == 0) {
    ++batches_without_steps_;
    if (batches_without_steps_ >= kBatchesToBeGone) last_tokens_ = 0;
    return;
  }
  batches_without_steps_ = 0;
  last_steps_ = content.steps;
  if (content.tokens > 0) last_tokens_ = content.tokens;
  mixed_batches_ = content.tokens > 0 ? mixed_batches_ + 1 : 0;
}

void BatchBudget::OnEnd(const Content& content, std::chrono::duration<double> time) {
  // Shorter times measure clocks and messages only.
  constexpr double kLeastSeconds = 1e-9;
  const double seconds = std::max(time.count(), kLeastSeconds);
  if (content.tokens == 0) {
    if (content.steps == 0) return;
    StepTime& known = step_times_[content.steps];
    LearnTime(seconds, known.seconds);
    ++known.samples;
    return;
  }
  const std::optional<double> of_steps = content.steps == 0 ? 0 : TimeOf(content.steps);
  if (!of_steps) return;
  if (content.steps > 0 && seconds < *of_steps) {
    // The steps alone evidently take less.
    step_times_[content.steps] = {seconds, kSamples};
    return;
  }
  Learn(std::max((seconds - *of_steps) / content.tokens, kLeastSeconds), token_time_);
}

}  // namespace logitd::server
