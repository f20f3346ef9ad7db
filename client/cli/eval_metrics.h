// The metrics of `logit eval` over items, with bootstrap errors.
//
//   acc         share of multiple-choice items whose largest sum of log-probs is the right choice's
//   acc_norm    the same with each sum divided by the choice's characters, as lm-evaluation-harness does
//   acc_bytes   the same with each sum divided by the choice's bytes
//   greedy      share of the other items all of whose tokens are the model's most likely ones
//   perplexity  exp(-S / L) over the other items: S is the sum of all their log-probs, L the number of their tokens
//   bits_per_byte  -S / (B ln 2), B is the number of their bytes
//
// Of equal choices the first wins. The error is the standard deviation of the metric over resamples: each draws as many
// items as there are, with replacement. Draws come from SplitMix64, so the error is the same on every machine.
#ifndef LOGITD_CLIENT_CLI_EVAL_METRICS_H_
#define LOGITD_CLIENT_CLI_EVAL_METRICS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/eval_item.h"

namespace logitd::cli {

// One item's outcome.
struct ChoiceOutcome {
  bool acc = false;
  bool acc_norm = false;
  bool acc_bytes = false;
};
struct TextOutcome {
  // Nats.
  double sum = 0;
  int64_t token_count = 0;
  int64_t byte_count = 0;
  bool is_greedy = false;
};

// REQUIRES: item.answer is set; a sum for each choice.
ChoiceOutcome Judge(const EvalItem& item, const std::vector<double>& sums);

struct Metric {
  std::string name;
  double value = 0;
  double standard_error = 0;
};

// Those for which there are items. REQUIRES: resamples >= 2.
std::vector<Metric> MetricsOf(const std::vector<ChoiceOutcome>& choices, const std::vector<TextOutcome>& texts,
                              int resamples, uint64_t seed);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_EVAL_METRICS_H_
