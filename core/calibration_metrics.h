// How good predicted probabilities of labels are: mean losses, calibration errors, and how sure they are.
//
//   predictions.push_back(PredictionOf(log_probs, label));      // for each sample
//   CalibrationMetrics metrics = MetricsOf(predictions, /*bin_count=*/15);
//
// Source: docs/numerics.md, section 10. Thread-safe: free functions without state.
#ifndef LOGITD_CORE_CALIBRATION_METRICS_H_
#define LOGITD_CORE_CALIBRATION_METRICS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/softmax_regression.h"

namespace logitd {

// What the metrics need of the prediction for one sample.
struct Prediction {
  // -ln p(label), nats; at most 745.2, where a double's exp ends.
  double negative_log_prob = 0;
  // Sum over the labels of (p - y)^2, in [0, 2].
  double brier = 0;
  // The largest p; ties go to the lowest label.
  double confidence = 0;
  // The label has it.
  bool is_correct = false;
};

// Shapes: log_probs [labels], normalised.
Prediction PredictionOf(std::span<const double> log_probs, int32_t label);

// One bin of a reliability diagram: the samples with a confidence in [lower, upper), the last one closed.
struct ReliabilityBin {
  double lower = 0;
  double upper = 0;
  int64_t count = 0;
  // Means over its samples; 0 without one.
  double confidence = 0;
  double accuracy = 0;
};

// Means over the samples. ece: sum over the bins of count / n * |accuracy - confidence|.
struct CalibrationMetrics {
  double nll = 0;
  double brier = 0;
  double ece = 0;
  double accuracy = 0;
};

// The bins of the samples. Range: bin_count in [1, 100].
std::vector<ReliabilityBin> ReliabilityBins(std::span<const Prediction> predictions, int32_t bin_count);
// REQUIRES: predictions is not empty.
CalibrationMetrics MetricsOf(std::span<const Prediction> predictions, int32_t bin_count);

// The middle 95 % of the bootstrap's values: from the 2.5 % to the 97.5 % quantile, linear between values.
struct Interval {
  double lower = 0;
  double upper = 0;
};
struct MetricIntervals {
  Interval nll, brier, ece, accuracy;
};

// Metrics with their intervals over `count` bootstrap samples, each of as many samples as there are, drawn with
// replacement.
struct BootstrapResult {
  MetricIntervals after;
  // Unset: no `before` was given.
  std::optional<MetricIntervals> before;
  // Of after - before, over the same draws: paired.
  std::optional<MetricIntervals> difference;
};

// `before`: empty, or predictions for the same samples, in the same order. Sample i of bootstrap sample b is floor(r n
// / 2^32) with r the half i mod 2, low half first, of the bits of RandomStream(seed, 0, b, kBootstrap) at index i / 2.
// Range: count in [1, 10000]. Errors: those of go_on.
absl::StatusOr<BootstrapResult> Bootstrap(std::span<const Prediction> before, std::span<const Prediction> after,
                                          int32_t bin_count, int32_t count, uint64_t seed, GoOn go_on);

// The mean of after - before of the negative log-probs, nats, and its standard error: the deviation of the differences
// (n - 1) over the root of n; 0 for one sample. Below 0: the loss has fallen. REQUIRES: as many, at least one.
struct PairedDifference {
  double mean = 0;
  double standard_error = 0;
};
PairedDifference NllDifference(std::span<const Prediction> before, std::span<const Prediction> after);

}  // namespace logitd

#endif  // LOGITD_CORE_CALIBRATION_METRICS_H_
