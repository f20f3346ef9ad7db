#include "core/calibration_folds.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/random_stream.h"

namespace logitd {
namespace {

Prediction Predict(const Calibration& calibration, std::span<const double> x, int32_t label, std::vector<double>& z) {
  ComputeLogits(calibration, x, z);
  LogSoftmax(z);
  return PredictionOf(z, label);
}

}  // namespace

std::vector<int32_t> FoldsOf(const LabelledSamples& samples, const FoldOptions& options) {
  std::vector<std::vector<std::pair<uint64_t, int32_t>>> of_label(static_cast<size_t>(samples.label_count));
  for (size_t i = 0; i < samples.labels.size(); ++i) {
    const int32_t label = samples.labels[i];
    const RandomStream random(options.seed, static_cast<uint64_t>(label), 0, RandomPurpose::kFolds);
    const auto index = static_cast<uint32_t>(i);
    of_label[static_cast<size_t>(label)].emplace_back(random.Uniform64(index), static_cast<int32_t>(i));
  }
  std::vector<int32_t> folds(samples.labels.size());
  int32_t next = 0;
  for (auto& members : of_label) {
    std::sort(members.begin(), members.end());
    for (const auto& [bits, i] : members) {
      folds[static_cast<size_t>(i)] = next;
      next = (next + 1) % options.folds;
    }
  }
  return folds;
}

absl::StatusOr<HeldOut> PredictHeldOut(const LabelledSamples& samples, const FitOptions& fit, const FoldOptions& folds,
                                       bool values_are_scores, GoOn go_on) {
  std::vector<int64_t> counts(static_cast<size_t>(samples.label_count), 0);
  for (const int32_t label : samples.labels) ++counts[static_cast<size_t>(label)];
  for (size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] < 2) return errors::LabelMissing("labels", static_cast<int32_t>(k), counts[k], 2);
  }
  const std::vector<int32_t> fold_of = FoldsOf(samples, folds);
  const auto sample_count = static_cast<int32_t>(samples.labels.size());
  HeldOut held_out;
  held_out.after.resize(samples.labels.size());
  std::vector<double> z(static_cast<size_t>(samples.label_count));
  for (int32_t fold = 0; fold < folds.folds; ++fold) {
    std::vector<int32_t> rows;
    for (int32_t i = 0; i < sample_count; ++i) {
      if (fold_of[static_cast<size_t>(i)] != fold) rows.push_back(i);
    }
    // With more folds than samples some are empty.
    if (std::ssize(rows) == sample_count) continue;
    const absl::StatusOr<Calibration> calibration = FitSoftmaxRegression(samples, rows, fit, go_on);
    if (!calibration.ok()) {
      ErrorDetail detail = DetailOf(calibration.status());
      if (detail.reason == ErrorReason::kDataSeparable || detail.reason == ErrorReason::kFitUndefined) {
        detail.message += " (without fold " + std::to_string(fold) + " of " + std::to_string(folds.folds) +
                          "; folds = 0 fits without an evaluation)";
      }
      return ToStatus(detail);
    }
    for (int32_t i = 0; i < sample_count; ++i) {
      const auto at = static_cast<size_t>(i);
      if (fold_of[at] == fold) held_out.after[at] = Predict(*calibration, samples.Row(i), samples.labels[at], z);
    }
  }
  if (!values_are_scores) return held_out;
  const Calibration identity{CalibrationKind::kTemperature, samples.label_count, samples.width, {1}, {}};
  for (int32_t i = 0; i < sample_count; ++i) {
    held_out.before.push_back(Predict(identity, samples.Row(i), samples.labels[static_cast<size_t>(i)], z));
  }
  return held_out;
}

}  // namespace logitd
