#include "core/calibration_folds.h"

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "core/calibration_metrics.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using testing::HasReason;
using ::testing::HasSubstr;
using testing::IsOk;

absl::Status GoOnAlways() { return absl::OkStatus(); }

double Uniform(uint64_t seed, uint32_t index) {
  return static_cast<double>(RandomStream(seed, 7, 0, RandomPurpose::kTokenDraw).Uniform64(index) >> 11) * 0x1p-53;
}

struct Scores {
  std::vector<double> values;
  std::vector<int32_t> labels;
  LabelledSamples View(int32_t label_count) const { return {values, labels, label_count, label_count}; }
};

// Scores in [-spread, spread] whose labels are drawn from their softmax at this temperature.
Scores Drawn(int32_t samples, int32_t label_count, double spread, double temperature, uint64_t seed) {
  Scores scores;
  uint32_t at = 0;
  for (int32_t i = 0; i < samples; ++i) {
    std::vector<double> z;
    for (int32_t k = 0; k < label_count; ++k) {
      scores.values.push_back(spread * (2 * Uniform(seed, at++) - 1));
      z.push_back(scores.values.back() / temperature);
    }
    LogSoftmax(z);
    double rest = Uniform(seed, at++);
    int32_t label = 0;
    while (label + 1 < label_count && (rest -= Exp(z[static_cast<size_t>(label)])) >= 0) ++label;
    scores.labels.push_back(label);
  }
  return scores;
}

TEST(CalibrationFoldsTest, EveryFoldHasItsShareOfEachLabel) {
  std::vector<int32_t> labels;
  for (int i = 0; i < 103; ++i) labels.push_back(i % 10 == 0 ? 2 : i % 2);
  const LabelledSamples samples{{}, labels, 1, 3};
  const auto folds = FoldsOf(samples, {.folds = 5, .seed = 4});
  for (int32_t label = 0; label < 3; ++label) {
    std::vector<int> counts(5, 0);
    for (size_t i = 0; i < labels.size(); ++i) counts[static_cast<size_t>(folds[i])] += labels[i] == label ? 1 : 0;
    const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
    EXPECT_LE(*most - *least, 1);
  }
  EXPECT_EQ(folds, FoldsOf(samples, {.folds = 5, .seed = 4}));
  EXPECT_NE(folds, FoldsOf(samples, {.folds = 5, .seed = 5}));
}

TEST(CalibrationFoldsTest, OverconfidentScoresImproveOnDataThatTheFitHasNotSeen) {
  const Scores scores = Drawn(2000, 4, 6, 3, 1);
  const auto held_out = PredictHeldOut(scores.View(4), {CalibrationKind::kTemperature, 0}, {.folds = 5, .seed = 1},
                                       /*values_are_scores=*/true, GoOnAlways);
  ASSERT_THAT(held_out, IsOk());
  const CalibrationMetrics before = MetricsOf(held_out->before, 15);
  const CalibrationMetrics after = MetricsOf(held_out->after, 15);
  EXPECT_LT(after.nll, before.nll - 0.1);
  EXPECT_LT(after.ece, before.ece / 3);
  EXPECT_LT(after.brier, before.brier);
  // A temperature changes no order.
  EXPECT_EQ(after.accuracy, before.accuracy);
}

// A third of the repetitions has scores that are calibrated already. A fit can only make these worse, by chance: with k
// parameters the difference is about sqrt(k / 4) / 2 + N(0, 1) standard errors, since 4 of 5 samples are fitted.
TEST(CalibrationFoldsTest, CalibrationDoesNoHarmOnHeldOutDataInNearlyAllRepetitions) {
  for (const auto kind : {CalibrationKind::kTemperature, CalibrationKind::kVectorScaling}) {
    int worse = 0;
    for (uint64_t repetition = 0; repetition < 200; ++repetition) {
      // Calibrated, over-confident, under-confident.
      const double temperatures[] = {1, 2, 0.5};
      const Scores scores = Drawn(1500, 4, 3, temperatures[repetition % 3], 1000 + repetition);
      const LabelledSamples samples = scores.View(4);
      std::vector<int32_t> fitted_on(1200);
      std::iota(fitted_on.begin(), fitted_on.end(), 0);
      const auto fitted = FitSoftmaxRegression(samples, fitted_on, {kind, 1}, GoOnAlways);
      ASSERT_THAT(fitted, IsOk());
      std::vector<Prediction> before;
      std::vector<Prediction> after;
      std::vector<double> z(4);
      for (int32_t i = 1200; i < 1500; ++i) {
        const auto row = samples.Row(i);
        z.assign(row.begin(), row.end());
        LogSoftmax(z);
        before.push_back(PredictionOf(z, scores.labels[static_cast<size_t>(i)]));
        ComputeLogits(*fitted, row, z);
        LogSoftmax(z);
        after.push_back(PredictionOf(z, scores.labels[static_cast<size_t>(i)]));
      }
      const PairedDifference difference = NllDifference(before, after);
      worse += difference.mean > 2 * difference.standard_error ? 1 : 0;
    }
    EXPECT_LE(worse, 10) << "kind " << static_cast<int>(kind);
  }
}

TEST(CalibrationFoldsTest, ALabelWithOneSampleCannotBeHeldOut) {
  Scores scores = Drawn(50, 3, 2, 1, 3);
  for (int32_t& label : scores.labels) label = std::min(label, 1);
  scores.labels[7] = 2;
  const auto held_out = PredictHeldOut(scores.View(3), {CalibrationKind::kVectorScaling, 1}, {}, true, GoOnAlways);
  EXPECT_THAT(held_out, HasReason(ErrorReason::kLabelMissing));
  EXPECT_THAT(held_out.status().message(), HasSubstr("label 2 has at least 2 samples, got 1"));
}

TEST(CalibrationFoldsTest, TheErrorOfAFoldNamesIt) {
  // Only sample 5 keeps the labels from being separated.
  const Scores scores{{0, 1, 0, 2, 0, 3, 1, 0, 2, 0, 0, 4, 3, 0}, {1, 1, 1, 0, 0, 0, 0}};
  std::vector<int32_t> rows(scores.labels.size());
  std::iota(rows.begin(), rows.end(), 0);
  const FitOptions options{CalibrationKind::kTemperature, 0};
  const LabelledSamples samples = scores.View(2);
  ASSERT_THAT(FitSoftmaxRegression(samples, rows, options, GoOnAlways), IsOk());
  const auto held_out = PredictHeldOut(samples, options, {.folds = 7, .seed = 0}, true, GoOnAlways);
  EXPECT_THAT(held_out, HasReason(ErrorReason::kDataSeparable));
  EXPECT_THAT(held_out.status().message(), HasSubstr("of 7; folds = 0 fits without an evaluation)"));
}

TEST(CalibrationMetricsTest, TheMetricsOfFourPredictionsByHand) {
  std::vector<Prediction> predictions;
  const auto add = [&](double p, int32_t label) {
    const std::vector<double> log_probs = {std::log(p), std::log(1 - p)};
    predictions.push_back(PredictionOf(log_probs, label));
  };
  add(0.95, 0);
  add(0.95, 1);
  add(0.65, 0);
  add(0.25, 1);
  const CalibrationMetrics metrics = MetricsOf(predictions, 10);
  EXPECT_NEAR(metrics.nll, -(std::log(0.95) + std::log(0.05) + std::log(0.65) + std::log(0.75)) / 4, 1e-12);
  EXPECT_NEAR(metrics.brier, 2 * (0.0025 + 0.9025 + 0.1225 + 0.0625) / 4, 1e-12);
  EXPECT_EQ(metrics.accuracy, 0.75);
  const auto bins = ReliabilityBins(predictions, 10);
  ASSERT_EQ(bins.size(), 10u);
  EXPECT_EQ(bins[9].count, 2);
  EXPECT_EQ(bins[9].accuracy, 0.5);
  EXPECT_NEAR(bins[9].confidence, 0.95, 1e-12);
  EXPECT_EQ(bins[7].count, 1);
  EXPECT_EQ(bins[6].count, 1);
  // |1 - 1.9|, |1 - 0.65|, |1 - 0.75| over 4.
  EXPECT_NEAR(metrics.ece, (0.9 + 0.35 + 0.25) / 4, 1e-12);
}

TEST(CalibrationMetricsTest, CertainPredictionsStayFinite) {
  const std::vector<double> log_probs = {0, -HUGE_VAL};
  EXPECT_EQ(PredictionOf(log_probs, 1).negative_log_prob, 745.2);
  EXPECT_EQ(PredictionOf(log_probs, 1).brier, 2);
  EXPECT_EQ(PredictionOf(log_probs, 0).negative_log_prob, 0);
  const std::vector<Prediction> one = {PredictionOf(log_probs, 0)};
  EXPECT_EQ(ReliabilityBins(one, 15).back().count, 1);
}

TEST(CalibrationMetricsTest, BootstrapIntervalsHaveTheWidthOfTheStandardError) {
  std::vector<Prediction> predictions(400);
  for (size_t i = 0; i < predictions.size(); ++i) {
    predictions[i] = {i % 4 == 0 ? 2.0 : 1.0, 0.5, 0.75, i % 4 != 0};
  }
  const auto result = Bootstrap({}, predictions, 15, 2000, 3, GoOnAlways);
  ASSERT_THAT(result, IsOk());
  // Deviation sqrt(3) / 4 of one, over the root of 400; 1.96 to each side.
  const double half = 1.96 * std::sqrt(3) / 4 / 20;
  EXPECT_NEAR(result->after.nll.lower, 1.25 - half, 0.006);
  EXPECT_NEAR(result->after.nll.upper, 1.25 + half, 0.006);
  EXPECT_NEAR(result->after.accuracy.lower, 0.75 - half, 0.006);
  EXPECT_FALSE(result->before.has_value());
  const auto again = Bootstrap(predictions, predictions, 15, 2000, 3, GoOnAlways);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->after.nll.lower, result->after.nll.lower);
  EXPECT_EQ(again->difference->nll.lower, 0);
  EXPECT_EQ(again->difference->nll.upper, 0);
}

}  // namespace
}  // namespace logitd
