#include "core/calibration.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/status_macros.h"
#include "core/compensated_sum.h"
#include "core/errors.h"
#include "core/exact_math.h"

namespace logitd {
namespace {

// A sum of 2^20 products with scores of at most 1e9 stays far inside the range of a double.
constexpr double kMaxCoefficient = 1e100;

absl::Status CheckNumbers(std::string_view field, const std::vector<double>& numbers, size_t count) {
  if (numbers.size() != count) {
    return errors::OutOfRange(field, std::ssize(numbers), std::to_string(count) + " numbers");
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!(std::abs(numbers[i]) <= kMaxCoefficient)) {
      return errors::OutOfRange(Element(field, static_cast<int64_t>(i)), numbers[i], "in [-1e+100, 1e+100]");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const Calibration& calibration) {
  if (calibration.label_count < 2) {
    return errors::OutOfRange("label_count", int64_t{calibration.label_count}, ">= 2");
  }
  const bool is_square = calibration.kind != CalibrationKind::kMultinomial;
  if (calibration.width < 1 || (is_square && calibration.width != calibration.label_count)) {
    return errors::OutOfRange("width", int64_t{calibration.width},
                              is_square ? std::to_string(calibration.label_count) + ", the label_count" : ">= 1");
  }
  RETURN_IF_ERROR(CheckNumbers("weights", calibration.weights, calibration.weight_count()));
  RETURN_IF_ERROR(CheckNumbers("offsets", calibration.offsets, calibration.offset_count()));
  if (calibration.kind == CalibrationKind::kTemperature && !(calibration.weights[0] > 0)) {
    return errors::OutOfRange("weights[0]", calibration.weights[0], "> 0");
  }
  return absl::OkStatus();
}

void ComputeLogits(const Calibration& calibration, std::span<const double> x, std::span<double> z) {
  switch (calibration.kind) {
    case CalibrationKind::kTemperature:
      for (size_t k = 0; k < z.size(); ++k) z[k] = calibration.weights[0] * x[k];
      return;
    case CalibrationKind::kVectorScaling:
      for (size_t k = 0; k < z.size(); ++k) z[k] = calibration.weights[k] * x[k] + calibration.offsets[k];
      return;
    case CalibrationKind::kMultinomial:
      for (size_t k = 0; k < z.size(); ++k) {
        double sum = 0;
        for (size_t j = 0; j < x.size(); ++j) sum += calibration.weights[k * x.size() + j] * x[j];
        z[k] = sum + calibration.offsets[k];
      }
      return;
  }
}

double LogSoftmax(std::span<double> z) {
  const double max = *std::max_element(z.begin(), z.end());
  CompensatedSum total;
  for (const double value : z) total.Add(Exp(value - max));
  const double log_sum = Log(total.value());
  // In two steps: the difference to the maximum is exact where it matters.
  for (double& value : z) value = (value - max) - log_sum;
  return max + log_sum;
}

}  // namespace logitd
