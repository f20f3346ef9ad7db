#include "server/converters/calibration.h"

#include <bit>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "host/sha256.h"

namespace logitd::server {
namespace {

// The bits of a number, little-endian.
void Append(uint64_t bits, int byte_count, std::string& bytes) {
  for (int i = 0; i < byte_count; ++i) bytes.push_back(static_cast<char>(bits >> (8 * i)));
}
void Append(int32_t value, std::string& bytes) { Append(static_cast<uint32_t>(value), 4, bytes); }
void Append(double value, std::string& bytes) { Append(std::bit_cast<uint64_t>(value), 8, bytes); }

}  // namespace

std::string FingerprintOf(const v1::Calibration& message) {
  std::string bytes;
  Append(int32_t{message.kind()}, bytes);
  Append(int32_t{message.input()}, bytes);
  Append(int32_t{message.score()}, bytes);
  Append(message.gnmt_alpha(), bytes);
  Append(message.label_count(), bytes);
  Append(message.width(), bytes);
  for (const double weight : message.weights()) Append(weight, bytes);
  for (const double offset : message.offsets()) Append(offset, bytes);
  return absl::BytesToHexString(host::Sha256(bytes));
}

absl::Status CheckScore(v1::Normalization score, std::optional<double> gnmt_alpha) {
  if (score < v1::NORMALIZATION_SUM || score > v1::NORMALIZATION_COMBINED) {
    return errors::Required("score", "the calibration takes scores");
  }
  if (gnmt_alpha) return CheckGnmtAlpha(*gnmt_alpha);
  if (score == v1::NORMALIZATION_GNMT) return errors::Required("gnmt_alpha", "score is NORMALIZATION_GNMT");
  return absl::OkStatus();
}

absl::StatusOr<ServedCalibration> FromProto(const v1::Calibration& message) {
  if (!v1::CalibrationKind_IsValid(message.kind()) || message.kind() == v1::CALIBRATION_KIND_UNSPECIFIED) {
    return errors::Required("kind");
  }
  if (message.input() != v1::CALIBRATION_INPUT_SCORES) {
    return errors::OutOfRange("input", v1::CalibrationInput_Name(message.input()),
                              "CALIBRATION_INPUT_SCORES: no features are known where it would be applied");
  }
  ServedCalibration served;
  if (message.has_gnmt_alpha()) served.gnmt_alpha = message.gnmt_alpha();
  RETURN_IF_ERROR(CheckScore(message.score(), served.gnmt_alpha));
  served.score = static_cast<Normalization>(message.score());
  Calibration& model = served.model;
  model.kind = static_cast<CalibrationKind>(message.kind());
  model.label_count = message.label_count();
  model.width = message.width();
  if (model.width != model.label_count) {
    return errors::OutOfRange("width", int64_t{model.width},
                              std::to_string(model.label_count) + ", the label_count: one score for each label");
  }
  if (model.label_count > kMaxFitLabels) {
    return errors::AboveLimit("label_count", model.label_count, kMaxFitLabels, 2);
  }
  model.weights.assign(message.weights().begin(), message.weights().end());
  model.offsets.assign(message.offsets().begin(), message.offsets().end());
  RETURN_IF_ERROR(Validate(model));
  if (!message.label_names().empty() && message.label_names_size() != model.label_count) {
    return errors::OutOfRange("label_names", int64_t{message.label_names_size()},
                              std::to_string(model.label_count) + " names, or none");
  }
  served.label_names.assign(message.label_names().begin(), message.label_names().end());
  served.fingerprint = FingerprintOf(message);
  if (message.fingerprint() != served.fingerprint) {
    return errors::OutOfRange("fingerprint", message.fingerprint(),
                              served.fingerprint + ", that of its numbers: they were changed after the fit");
  }
  return served;
}

void ToProto(const std::string& name, const ServedCalibration& calibration, v1::CalibrationInfo& message) {
  message.set_name(name);
  message.set_kind(static_cast<v1::CalibrationKind>(calibration.model.kind));
  message.set_label_count(calibration.model.label_count);
  message.mutable_label_names()->Add(calibration.label_names.begin(), calibration.label_names.end());
  message.set_score(static_cast<v1::Normalization>(calibration.score));
  if (calibration.gnmt_alpha) message.set_gnmt_alpha(*calibration.gnmt_alpha);
  message.set_fingerprint(calibration.fingerprint);
}

void ToProto(const CalibrationMetrics& metrics, v1::CalibrationMetrics& message) {
  message.mutable_nll()->set_value(metrics.nll);
  message.mutable_brier()->set_value(metrics.brier);
  message.mutable_ece()->set_value(metrics.ece);
  message.mutable_accuracy()->set_value(metrics.accuracy);
}

void ToProto(const MetricIntervals& intervals, v1::CalibrationMetrics& message) {
  const auto set = [](const Interval& interval, v1::MetricEstimate& estimate) {
    estimate.set_lower(interval.lower);
    estimate.set_upper(interval.upper);
  };
  set(intervals.nll, *message.mutable_nll());
  set(intervals.brier, *message.mutable_brier());
  set(intervals.ece, *message.mutable_ece());
  set(intervals.accuracy, *message.mutable_accuracy());
}

void ToProto(const ReliabilityBin& bin, v1::ReliabilityBin& message) {
  message.set_lower(bin.lower);
  message.set_upper(bin.upper);
  message.set_count(bin.count);
  message.set_confidence(bin.confidence);
  message.set_accuracy(bin.accuracy);
}

}  // namespace logitd::server
