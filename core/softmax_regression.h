// Fits a softmax regression to labelled samples: the cross-entropy of the labels is made as small as it can be.
//
//   LabelledSamples samples{values, labels, width, label_count};
//   RETURN_IF_ERROR(Check(samples, options));
//   ASSIGN_OR_RETURN(Calibration fitted, FitSoftmaxRegression(samples, rows, options, go_on));
//
// The fit minimises, over the parameters of core/calibration.h,
//
//   sum over the rows of -ln p(label) + (l2 / 2) sum over the weights of (w - w0)^2
//
// with w0 = 0 for kMultinomial and w0 = 1, no change, for the other two. Offsets are free. For kMultinomial that is
// scikit-learn's LogisticRegression with C = 1 / l2. The gradient in z of a row is p - y.
//
// The algorithm is Newton's with a line search; each step is solved by conjugate gradients, so that no Hessian is kept:
// one product costs rows * labels * width, memory is one double for each row and label. It is one fixed sequence of
// IEEE operations on one thread, so equal inputs give equal bits on every machine (docs/adr/0024).
//
// Thread-safe: free functions without state. Source: docs/numerics.md, section 10.
#ifndef LOGITD_CORE_SOFTMAX_REGRESSION_H_
#define LOGITD_CORE_SOFTMAX_REGRESSION_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/calibration.h"

namespace logitd {

// A view of samples with their labels. Shapes: values [samples, width], labels [samples].
struct LabelledSamples {
  std::span<const double> values;
  std::span<const int32_t> labels;
  int32_t width = 0;
  int32_t label_count = 0;

  std::span<const double> Row(int32_t i) const {
    return values.subspan(static_cast<size_t>(i) * static_cast<size_t>(width), static_cast<size_t>(width));
  }
};

struct FitOptions {
  CalibrationKind kind = CalibrationKind::kTemperature;
  // [0, 1e9]. 0: no penalty; data that a plane separates have no best fit then.
  double l2 = 0;
};

// Says whether the fit may go on; called at least once for each product with the Hessian. Its error ends the fit.
using GoOn = absl::FunctionRef<absl::Status()>;

// Checks everything about samples and options that can be checked without a fit. Errors:
// - LIMIT_EXCEEDED (max_fit_labels, max_fit_samples, max_fit_cells, max_fit_parameters);
// - FIELD_OUT_OF_RANGE: label_count below 2, width, the number of values, a label that is not in [0, label_count), a
//   value that is not finite or above 1e9, l2;
// - FIELD_REQUIRED: no sample;
// - LABEL_MISSING: a label without a sample.
absl::Status Check(const LabelledSamples& samples, const FitOptions& options);

// Fits to the samples `rows`. REQUIRES: Check() is OK; `rows` are indices of samples and have each label.
// Errors:
// - DATA_SEPARABLE: without l2, some direction of the parameters makes no sample worse and some better for ever, so
//   there is no best fit;
// - FIT_UNDEFINED: the best temperature is outside [1e-4, 1e6], or the steps did not become small: at most 30 without
//   l2, 200 with it;
// - those of `go_on`.
absl::StatusOr<Calibration> FitSoftmaxRegression(const LabelledSamples& samples, std::span<const int32_t> rows,
                                                 const FitOptions& options, GoOn go_on);

}  // namespace logitd

#endif  // LOGITD_CORE_SOFTMAX_REGRESSION_H_
