// A fitted softmax regression: the map from a sample's numbers to the probabilities of its labels.
//
//   kTemperature       z_k = beta x_k                     weights [1]
//   kVectorScaling     z_k = a_k x_k + b_k                weights [labels], offsets [labels]
//   kMultinomial       z_k = sum over j of w_kj x_j + b_k weights [labels, width] in rows, offsets [labels]
//
// and p = softmax(z). With two labels that is logistic regression: p_1 = 1 / (1 + exp(-(z_1 - z_0))).
//
// Four-token example: scores 6, 3, 0.5, 0.5 and beta = 0.5 give z = 3, 1.5, 0.25, 0.25 and p = 0.740, 0.165, 0.047,
// 0.047: the softmax at temperature 1 / beta = 2.
//
// Thread-compatible to build, then thread-safe to use. Source: docs/numerics.md, section 10.
#ifndef LOGITD_CORE_CALIBRATION_H_
#define LOGITD_CORE_CALIBRATION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace logitd {

// Numbers as logitd.v1.CalibrationKind.
enum class CalibrationKind { kTemperature = 1, kVectorScaling = 2, kMultinomial = 3 };

struct Calibration {
  CalibrationKind kind = CalibrationKind::kTemperature;
  int32_t label_count = 0;
  // Numbers of a sample. As many as labels, unless the kind is kMultinomial.
  int32_t width = 0;
  std::vector<double> weights = {};
  // Their sum is 0: a constant that is added to all changes no probability.
  std::vector<double> offsets = {};

  size_t weight_count() const {
    const auto labels = static_cast<size_t>(label_count);
    if (kind == CalibrationKind::kTemperature) return 1;
    return kind == CalibrationKind::kVectorScaling ? labels : labels * static_cast<size_t>(width);
  }
  size_t offset_count() const { return kind == CalibrationKind::kTemperature ? 0 : static_cast<size_t>(label_count); }
  // 1 / beta. REQUIRES: kind is kTemperature.
  double temperature() const { return 1 / weights[0]; }
};

// Whether `calibration` has the counts of its kind, label_count >= 2, only finite numbers of at most 1e100, and beta >
// 0. Errors: FIELD_OUT_OF_RANGE of label_count, width, weights or offsets.
absl::Status Validate(const Calibration& calibration);

// z of one sample. Shapes: x [width], z [label_count]. REQUIRES: Validate() is OK; x is finite.
void ComputeLogits(const Calibration& calibration, std::span<const double> x, std::span<double> z);
// Replaces z by z - ln of the sum of exp(z), nats, and returns that logarithm. The sum is Neumaier's, from left to
// right.
double LogSoftmax(std::span<double> z);

}  // namespace logitd

#endif  // LOGITD_CORE_CALIBRATION_H_
