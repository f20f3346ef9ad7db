#include "server/handlers/fit_calibration.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status_macros.h"
#include "core/calibration_folds.h"
#include "core/calibration_metrics.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/softmax_regression.h"
#include "server/converters/calibration.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

constexpr int32_t kDefaultFolds = 5;
constexpr int32_t kMaxFolds = 100;
constexpr int32_t kDefaultBootstrapCount = 1000;
constexpr int32_t kDefaultBinCount = 15;
constexpr int32_t kMaxBinCount = 100;

struct Evaluation {
  int32_t folds = kDefaultFolds;
  int32_t bootstrap_count = 0;
  int32_t bin_count = kDefaultBinCount;
};

absl::Status CheckInput(const v1::FitCalibrationRequest& request) {
  if (request.input() == v1::CALIBRATION_INPUT_FEATURES) {
    if (request.kind() != v1::CALIBRATION_KIND_MULTINOMIAL) {
      return errors::OutOfRange("kind", v1::CalibrationKind_Name(request.kind()),
                                "CALIBRATION_KIND_MULTINOMIAL for features");
    }
    if (request.score() != v1::NORMALIZATION_UNSPECIFIED) {
      return errors::Exclusive("score", "input = CALIBRATION_INPUT_FEATURES");
    }
    if (request.has_gnmt_alpha()) return errors::Exclusive("gnmt_alpha", "input = CALIBRATION_INPUT_FEATURES");
    return absl::OkStatus();
  }
  if (request.width() != 0 && request.width() != request.label_count()) {
    return errors::OutOfRange("width", int64_t{request.width()},
                              std::to_string(request.label_count()) + ", the label_count: one score for each label");
  }
  if (request.has_gnmt_alpha() && request.score() != v1::NORMALIZATION_GNMT) {
    return errors::Exclusive("gnmt_alpha", "score = " + v1::Normalization_Name(request.score()));
  }
  return CheckScore(request.score() == v1::NORMALIZATION_UNSPECIFIED ? v1::NORMALIZATION_SUM : request.score(),
                    request.has_gnmt_alpha() ? std::optional(request.gnmt_alpha()) : std::nullopt);
}

absl::Status CheckNames(const v1::FitCalibrationRequest& request) {
  if (request.label_names().empty()) return absl::OkStatus();
  if (request.label_names_size() != request.label_count()) {
    return errors::OutOfRange("label_names", int64_t{request.label_names_size()},
                              std::to_string(request.label_count()) + " names, or none");
  }
  std::set<std::string_view> seen;
  for (int i = 0; i < request.label_names_size(); ++i) {
    const auto bytes = std::ssize(request.label_names(i));
    if (bytes > kMaxIdBytes) return errors::AboveLimit(Element("label_names", i), bytes, kMaxIdBytes, 0, "bytes");
    if (!seen.insert(request.label_names(i)).second) {
      return errors::OutOfRange(Element("label_names", i), request.label_names(i), "another name than those before it");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Evaluation> EvaluationOf(const v1::FitCalibrationRequest& request) {
  Evaluation evaluation;
  if (request.has_folds()) evaluation.folds = request.folds();
  if (evaluation.folds != 0 && (evaluation.folds < 2 || evaluation.folds > kMaxFolds)) {
    return errors::OutOfRange("folds", int64_t{evaluation.folds}, "0 or in [2, 100]");
  }
  if (request.has_bin_count()) evaluation.bin_count = request.bin_count();
  if (evaluation.bin_count < 1 || evaluation.bin_count > kMaxBinCount) {
    return errors::OutOfRange("bin_count", int64_t{evaluation.bin_count}, "[1, 100]");
  }
  const int64_t samples = std::max(request.labels_size(), 1);
  evaluation.bootstrap_count =
      static_cast<int32_t>(std::min(int64_t{kDefaultBootstrapCount}, kMaxBootstrapDraws / samples));
  if (request.has_bootstrap_count()) evaluation.bootstrap_count = request.bootstrap_count();
  if (evaluation.bootstrap_count < 0 || evaluation.bootstrap_count > kMaxBootstrapCount) {
    return errors::AboveLimit("bootstrap_count", evaluation.bootstrap_count, kMaxBootstrapCount);
  }
  if (const int64_t draws = evaluation.bootstrap_count * samples; draws > kMaxBootstrapDraws) {
    return errors::AboveLimit("bootstrap_count", draws, kMaxBootstrapDraws, 0, "draws, bootstrap_count * samples");
  }
  return evaluation;
}

absl::Status Evaluate(const LabelledSamples& samples, const FitOptions& fit, const Evaluation& evaluation,
                      const v1::FitCalibrationRequest& request, GoOn go_on, v1::CalibrationEvaluation& message) {
  const bool are_scores = request.input() != v1::CALIBRATION_INPUT_FEATURES;
  ASSIGN_OR_RETURN(const HeldOut held_out,
                   PredictHeldOut(samples, fit, {evaluation.folds, request.seed()}, are_scores, go_on));
  message.set_folds(evaluation.folds);
  message.set_bootstrap_count(evaluation.bootstrap_count);
  message.set_seed(request.seed());
  const CalibrationMetrics after = MetricsOf(held_out.after, evaluation.bin_count);
  ToProto(after, *message.mutable_after());
  for (const ReliabilityBin& bin : ReliabilityBins(held_out.after, evaluation.bin_count)) {
    ToProto(bin, *message.add_bins_after());
  }
  if (are_scores) {
    const CalibrationMetrics before = MetricsOf(held_out.before, evaluation.bin_count);
    ToProto(before, *message.mutable_before());
    ToProto(CalibrationMetrics{after.nll - before.nll, after.brier - before.brier, after.ece - before.ece,
                               after.accuracy - before.accuracy},
            *message.mutable_difference());
    message.set_nll_difference_standard_error(NllDifference(held_out.before, held_out.after).standard_error);
    for (const ReliabilityBin& bin : ReliabilityBins(held_out.before, evaluation.bin_count)) {
      ToProto(bin, *message.add_bins_before());
    }
  }
  if (evaluation.bootstrap_count == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const BootstrapResult bootstrap, Bootstrap(held_out.before, held_out.after, evaluation.bin_count,
                                                              evaluation.bootstrap_count, request.seed(), go_on));
  ToProto(bootstrap.after, *message.mutable_after());
  if (bootstrap.before) ToProto(*bootstrap.before, *message.mutable_before());
  if (bootstrap.difference) ToProto(*bootstrap.difference, *message.mutable_difference());
  return absl::OkStatus();
}

}  // namespace

absl::Status FitCalibration(const v1::FitCalibrationRequest& request, const ServerEnv& env,
                            const RequestContext& context, v1::FitCalibrationResponse& response) {
  if (request.kind() == v1::CALIBRATION_KIND_UNSPECIFIED) return errors::Required("kind");
  RETURN_IF_ERROR(CheckInput(request));
  LabelledSamples samples;
  samples.label_count = request.label_count();
  samples.width = request.width() == 0 ? request.label_count() : request.width();
  samples.values = {request.values().data(), static_cast<size_t>(request.values_size())};
  samples.labels = {request.labels().data(), static_cast<size_t>(request.labels_size())};
  const FitOptions fit{static_cast<CalibrationKind>(request.kind()), request.l2()};
  RETURN_IF_ERROR(Check(samples, fit));
  RETURN_IF_ERROR(CheckNames(request));
  ASSIGN_OR_RETURN(const Evaluation evaluation, EvaluationOf(request));

  ASSIGN_OR_RETURN(const FitSlots::Lease slot, env.fits.Take(context));
  const auto go_on = [&context] { return context.Check(); };
  std::vector<int32_t> all(samples.labels.size());
  std::iota(all.begin(), all.end(), 0);
  ASSIGN_OR_RETURN(const Calibration fitted, FitSoftmaxRegression(samples, all, fit, go_on));
  v1::Calibration& message = *response.mutable_calibration();
  message.set_kind(request.kind());
  if (request.input() == v1::CALIBRATION_INPUT_FEATURES) {
    message.set_input(v1::CALIBRATION_INPUT_FEATURES);
  } else {
    message.set_input(v1::CALIBRATION_INPUT_SCORES);
    message.set_score(request.score() == v1::NORMALIZATION_UNSPECIFIED ? v1::NORMALIZATION_SUM : request.score());
    if (request.has_gnmt_alpha()) message.set_gnmt_alpha(request.gnmt_alpha());
  }
  message.set_label_count(fitted.label_count);
  message.set_width(fitted.width);
  *message.mutable_label_names() = request.label_names();
  message.mutable_weights()->Add(fitted.weights.begin(), fitted.weights.end());
  message.mutable_offsets()->Add(fitted.offsets.begin(), fitted.offsets.end());
  message.set_l2(request.l2());
  message.set_sample_count(request.labels_size());
  if (evaluation.folds > 0) {
    RETURN_IF_ERROR(Evaluate(samples, fit, evaluation, request, go_on, *message.mutable_evaluation()));
  }
  message.set_fingerprint(FingerprintOf(message));
  *response.mutable_provenance() = ProvenanceWithoutModel();
  return absl::OkStatus();
}

}  // namespace logitd::server
