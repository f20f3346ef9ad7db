// Calibrations: wire <-> core, and their fingerprint.
#ifndef LOGITD_SERVER_CONVERTERS_CALIBRATION_H_
#define LOGITD_SERVER_CONVERTERS_CALIBRATION_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/calibration.h"
#include "core/calibration_metrics.h"
#include "core/ranker.h"
#include "logitd/v1/calibration.pb.h"
#include "logitd/v1/server_service.pb.h"

namespace logitd::server {

// A calibration that requests may name.
struct ServedCalibration {
  Calibration model;
  // The score that it was fitted to.
  Normalization score = Normalization::kSum;
  // kGnmt: its alpha.
  std::optional<double> gnmt_alpha = std::nullopt;
  std::vector<std::string> label_names = {};
  std::string fingerprint = {};
};

// By name.
using Calibrations = std::map<std::string, ServedCalibration>;

// SHA-256, 64 hexadecimal digits, as v1.Calibration documents it.
std::string FingerprintOf(const v1::Calibration& message);

// Errors: FIELD_REQUIRED; FIELD_OUT_OF_RANGE, also of input if it takes features, and of fingerprint if that is not the
// one of its numbers; LIMIT_EXCEEDED.
absl::StatusOr<ServedCalibration> FromProto(const v1::Calibration& message);

// Checks the score that a calibration is of, and its alpha. Errors: FIELD_REQUIRED, FIELD_OUT_OF_RANGE.
absl::Status CheckScore(v1::Normalization score, std::optional<double> gnmt_alpha);

void ToProto(const std::string& name, const ServedCalibration& calibration, v1::CalibrationInfo& message);
// Without intervals.
void ToProto(const CalibrationMetrics& metrics, v1::CalibrationMetrics& message);
void ToProto(const MetricIntervals& intervals, v1::CalibrationMetrics& message);
void ToProto(const ReliabilityBin& bin, v1::ReliabilityBin& message);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_CALIBRATION_H_
