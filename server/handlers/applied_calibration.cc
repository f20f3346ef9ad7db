#include "server/handlers/applied_calibration.h"

#include <cmath>

#include "core/calibration.h"
#include "core/errors.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::server {
namespace {

std::string NameOf(Normalization by) { return v1::Normalization_Name(static_cast<v1::Normalization>(by)); }

}  // namespace

absl::StatusOr<AppliedCalibration> AppliedCalibration::Of(const std::string& name, const ServerEnv& env) {
  AppliedCalibration applied;
  if (name.empty()) return applied;
  const auto found = env.options.calibrations.find(name);
  if (found == env.options.calibrations.end()) return errors::CalibrationNotFound(name);
  applied.name_ = name;
  applied.calibration_ = &found->second;
  return applied;
}

absl::Status AppliedCalibration::CheckScore(const std::string& field, Normalization by,
                                            std::optional<double> gnmt_alpha) const {
  if (!is_set()) return absl::OkStatus();
  if (by != calibration_->score) {
    return errors::CalibrationMismatch(name_, field, NameOf(by),
                                       NameOf(calibration_->score) + ", to which it is fitted");
  }
  if (by == Normalization::kGnmt && gnmt_alpha != calibration_->gnmt_alpha) {
    return errors::CalibrationMismatch(name_, "gnmt_alpha", errors::Show(gnmt_alpha.value_or(std::nan(""))),
                                       errors::Show(*calibration_->gnmt_alpha) + ", to which it is fitted");
  }
  return absl::OkStatus();
}

absl::Status AppliedCalibration::CheckCount(const std::string& field, int64_t count) const {
  if (!is_set() || count == calibration_->model.label_count) return absl::OkStatus();
  return errors::CalibrationMismatch(name_, field, std::to_string(count),
                                     std::to_string(calibration_->model.label_count) + " elements, one for each label");
}

std::optional<std::vector<double>> AppliedCalibration::LogProbs(std::span<const std::optional<double>> values) const {
  if (!is_set()) return std::nullopt;
  std::vector<double> x;
  for (const std::optional<double>& value : values) {
    if (!value) return std::nullopt;
    x.push_back(*value);
  }
  std::vector<double> z(x.size());
  ComputeLogits(calibration_->model, x, z);
  for (const double logit : z) {
    // A sum of log-probs below -2^129 times a weight.
    if (!std::isfinite(logit)) return std::nullopt;
  }
  LogSoftmax(z);
  return z;
}

}  // namespace logitd::server
