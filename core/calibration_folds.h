// A calibration with the proof of its use: the fit on all samples, and predictions for each sample by a fit that has
// not seen it.
//
//   ASSIGN_OR_RETURN(const HeldOut held_out, PredictHeldOut(samples, options, {.folds = 5, .seed = 1}, go_on));
//   MetricsOf(held_out.after, 15)
//
// Source: docs/numerics.md, section 10. Thread-safe: free functions without state.
#ifndef LOGITD_CORE_CALIBRATION_FOLDS_H_
#define LOGITD_CORE_CALIBRATION_FOLDS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/calibration_metrics.h"
#include "core/softmax_regression.h"

namespace logitd {

struct FoldOptions {
  // [2, 100].
  int32_t folds = 5;
  uint64_t seed = 0;
};

// The fold of each sample, [samples]. Each label's samples are put in a random order, that of the bits of
// RandomStream(seed, label, 0, kFolds) at the sample's index, and dealt to the folds in turns; a label goes on where
// the one before has stopped. So every fold has its share of each label.
std::vector<int32_t> FoldsOf(const LabelledSamples& samples, const FoldOptions& options);

// The predictions for each sample, in order.
struct HeldOut {
  // The softmax of the values as they came; empty if these are not scores.
  std::vector<Prediction> before;
  // By the fit on the other folds.
  std::vector<Prediction> after;
};

// REQUIRES: Check(samples, fit) is OK. `values_are_scores`: they have a prediction of their own.
// Errors: LABEL_MISSING if a label has fewer than two samples; those of FitSoftmaxRegression, whose message names the
// fold; those of go_on.
absl::StatusOr<HeldOut> PredictHeldOut(const LabelledSamples& samples, const FitOptions& fit, const FoldOptions& folds,
                                       bool values_are_scores, GoOn go_on);

}  // namespace logitd

#endif  // LOGITD_CORE_CALIBRATION_FOLDS_H_
