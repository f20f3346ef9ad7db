#include "core/softmax_regression.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "core/calibration_folds.h"
#include "core/calibration_metrics.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/limits.h"
#include "core/random_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/golden.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::ReadGolden;

absl::Status GoOnAlways() { return absl::OkStatus(); }

// Samples that own their data.
struct Data {
  std::vector<double> values;
  std::vector<int32_t> labels;
  int32_t width = 0;
  int32_t label_count = 0;

  LabelledSamples View() const { return {values, labels, width, label_count}; }
};

std::vector<int32_t> AllRows(const Data& data) {
  std::vector<int32_t> rows(data.labels.size());
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

absl::StatusOr<Calibration> FitAll(const Data& data, const FitOptions& options) {
  if (const absl::Status status = Check(data.View(), options); !status.ok()) return status;
  return FitSoftmaxRegression(data.View(), AllRows(data), options, GoOnAlways);
}

// Uniform numbers in [0, 1) of the server's own generator.
class Uniforms {
 public:
  explicit Uniforms(uint64_t seed) : random_(seed, 0, 0, RandomPurpose::kTokenDraw) {}
  double Next() { return static_cast<double>(random_.Uniform64(index_++) >> 11) * 0x1p-53; }
  // Mean 0, variance 1, nearly normal.
  double Noise() {
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += Next();
    return sum - 6;
  }
  int32_t Draw(std::span<const double> probabilities) {
    double rest = Next();
    for (size_t k = 0; k + 1 < probabilities.size(); ++k) {
      rest -= probabilities[k];
      if (rest < 0) return static_cast<int32_t>(k);
    }
    return static_cast<int32_t>(probabilities.size()) - 1;
  }

 private:
  RandomStream random_;
  uint32_t index_ = 0;
};

std::vector<double> Softmax(std::vector<double> z) {
  LogSoftmax(z);
  for (double& value : z) value = Exp(value);
  return z;
}

// Scores whose labels are drawn from softmax(scores / temperature).
Data Planted(int32_t samples, int32_t label_count, double spread, double temperature, uint64_t seed) {
  Data data{{}, {}, label_count, label_count};
  Uniforms uniforms(seed);
  for (int32_t i = 0; i < samples; ++i) {
    std::vector<double> z;
    for (int32_t k = 0; k < label_count; ++k) {
      data.values.push_back(spread * uniforms.Noise());
      z.push_back(data.values.back() / temperature);
    }
    data.labels.push_back(uniforms.Draw(Softmax(z)));
  }
  return data;
}

TEST(SoftmaxRegressionTest, EqualsScikitLearnToAMillionth) {
  const auto golden = ReadGolden("regression.json");
  ASSERT_GE(golden.at("regressions").size(), 3u);
  for (const auto& set : golden.at("regressions")) {
    SCOPED_TRACE(set.at("name").get<std::string>());
    const Data data{set.at("values").get<std::vector<double>>(), set.at("labels").get<std::vector<int32_t>>(),
                    set.at("width").get<int32_t>(), set.at("label_count").get<int32_t>()};
    for (const auto& fit : set.at("fits")) {
      const FitOptions options{CalibrationKind::kMultinomial, fit.at("l2").get<double>()};
      SCOPED_TRACE(options.l2);
      const auto result = FitAll(data, options);
      ASSERT_THAT(result.status(), IsOk());
      const auto weights = fit.at("weights");
      for (size_t k = 0; k < static_cast<size_t>(data.label_count); ++k) {
        for (size_t j = 0; j < static_cast<size_t>(data.width); ++j) {
          EXPECT_NEAR(result->weights[k * static_cast<size_t>(data.width) + j], weights[k][j].get<double>(), 1e-6);
        }
        EXPECT_NEAR(result->offsets[k], fit.at("offsets")[k].get<double>(), 1e-6);
      }
    }
  }
}

// The gradient of the loss at the fit is 0, by central differences of the loss itself.
TEST(SoftmaxRegressionTest, NoParameterCanBeMovedToALowerLoss) {
  Data data = Planted(300, 4, 2, 1.7, 5);
  for (size_t i = 0; i < data.values.size(); ++i) data.values[i] -= 40 * static_cast<double>(i % 4);
  for (const auto kind :
       {CalibrationKind::kTemperature, CalibrationKind::kVectorScaling, CalibrationKind::kMultinomial}) {
    for (const double l2 : {0.0, 0.5}) {
      SCOPED_TRACE(static_cast<int>(kind) * 10 + l2);
      if (kind == CalibrationKind::kTemperature && l2 > 0) continue;
      const auto fitted = FitAll(data, {kind, l2});
      ASSERT_THAT(fitted.status(), IsOk());
      const auto loss = [&](const Calibration& at) {
        double sum = 0;
        std::vector<double> z(4);
        for (size_t i = 0; i < data.labels.size(); ++i) {
          ComputeLogits(at, data.View().Row(static_cast<int32_t>(i)), z);
          LogSoftmax(z);
          sum -= z[static_cast<size_t>(data.labels[i])];
        }
        for (const double w : at.weights) {
          const double off = w - (kind == CalibrationKind::kMultinomial ? 0 : 1);
          sum += l2 / 2 * off * off;
        }
        return sum;
      };
      const double least = loss(*fitted);
      for (size_t i = 0; i < fitted->weights.size() + fitted->offsets.size(); ++i) {
        for (const double step : {-1e-4, 1e-4}) {
          Calibration moved = *fitted;
          (i < moved.weights.size() ? moved.weights[i] : moved.offsets[i - moved.weights.size()]) += step;
          EXPECT_GE(loss(moved), least - 1e-9);
        }
      }
    }
  }
}

TEST(SoftmaxRegressionTest, FindsAPlantedTemperatureWithinOnePercent) {
  for (const double temperature : {0.4, 1.0, 2.5}) {
    const Data data = Planted(100'000, 5, 2 * temperature, temperature, 17);
    const auto fitted = FitAll(data, {CalibrationKind::kTemperature, 0});
    ASSERT_THAT(fitted.status(), IsOk());
    EXPECT_NEAR(fitted->temperature() / temperature, 1, 0.01);
  }
}

TEST(SoftmaxRegressionTest, FindsPlantedScalesAndOffsets) {
  const std::vector<double> scales = {0.5, 1.5, 1};
  const std::vector<double> offsets = {1, -1.5, 0.5};
  Data data{{}, {}, 3, 3};
  Uniforms uniforms(3);
  for (int i = 0; i < 40'000; ++i) {
    std::vector<double> z;
    for (size_t k = 0; k < 3; ++k) {
      data.values.push_back(2 * uniforms.Noise() - 30);
      z.push_back(scales[k] * (data.values.back() + 30) + offsets[k]);
    }
    data.labels.push_back(uniforms.Draw(Softmax(z)));
  }
  const auto fitted = FitAll(data, {CalibrationKind::kVectorScaling, 0});
  ASSERT_THAT(fitted.status(), IsOk());
  for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(fitted->weights[k], scales[k], 0.05);
  // The offset of a score that is 30 lower.
  EXPECT_NEAR(fitted->offsets[1] - fitted->offsets[0], (30 * 1.5 - 1.5) - (30 * 0.5 + 1), 1.5);
  EXPECT_NEAR(std::accumulate(fitted->offsets.begin(), fitted->offsets.end(), 0.0), 0, 1e-9);
}

// Two labels are logistic regression: p_1 = 1 / (1 + exp(-(w x + b))) with w = w_1 - w_0. Its own Newton iteration, of
// the textbook, finds the same.
TEST(SoftmaxRegressionTest, TwoLabelsAreLogisticRegression) {
  Data data{{}, {}, 1, 2};
  Uniforms uniforms(9);
  for (int i = 0; i < 500; ++i) {
    const double x = uniforms.Noise();
    data.values.push_back(x);
    data.labels.push_back(uniforms.Next() < 1 / (1 + Exp(-(1.3 * x - 0.4))) ? 1 : 0);
  }
  const auto fitted = FitAll(data, {CalibrationKind::kMultinomial, 0});
  ASSERT_THAT(fitted.status(), IsOk());
  double w = 0;
  double b = 0;
  for (int step = 0; step < 50; ++step) {
    double gw = 0, gb = 0, hww = 0, hwb = 0, hbb = 0;
    for (size_t i = 0; i < data.labels.size(); ++i) {
      const double x = data.values[i];
      const double p = 1 / (1 + std::exp(-(w * x + b)));
      const double residual = p - data.labels[i];
      gw += residual * x;
      gb += residual;
      hww += p * (1 - p) * x * x;
      hwb += p * (1 - p) * x;
      hbb += p * (1 - p);
    }
    const double determinant = hww * hbb - hwb * hwb;
    w -= (hbb * gw - hwb * gb) / determinant;
    b -= (hww * gb - hwb * gw) / determinant;
  }
  EXPECT_NEAR(fitted->weights[1] - fitted->weights[0], w, 1e-9);
  EXPECT_NEAR(fitted->offsets[1] - fitted->offsets[0], b, 1e-9);
  EXPECT_NEAR(fitted->weights[1], w / 2, 1e-9);
}

TEST(SoftmaxRegressionTest, TheWorkedExampleHasItsNumbers) {
  const Data data{{1, 2, 3, 4}, {0, 1, 0, 1}, 1, 2};
  const auto fitted = FitAll(data, {CalibrationKind::kMultinomial, 0});
  ASSERT_THAT(fitted.status(), IsOk());
  EXPECT_NEAR(fitted->weights[1] - fitted->weights[0], 0.908184, 1e-6);
  EXPECT_NEAR(fitted->offsets[1] - fitted->offsets[0], -2.270461, 1e-6);
}

TEST(SoftmaxRegressionTest, SeparableDataAreAnErrorWithoutPenaltyAndAFitWithIt) {
  struct Case {
    const char* name;
    Data data;
    CalibrationKind kind;
  };
  const Case cases[] = {
      {"a gap", {{1, 2, 3, 4}, {0, 0, 1, 1}, 1, 2}, CalibrationKind::kMultinomial},
      {"they touch in one point", {{1, 2, 2, 3}, {0, 0, 1, 1}, 1, 2}, CalibrationKind::kMultinomial},
      {"one of three labels", {{1, 2, 3, 4, 9, 10}, {0, 1, 0, 1, 2, 2}, 1, 3}, CalibrationKind::kMultinomial},
      {"one column of two", {{1, 5, 2, 5, 3, 5, 4, 5, 2, 7}, {0, 1, 0, 1, 1}, 2, 2}, CalibrationKind::kMultinomial},
      {"the largest score is always right", {{2, 1, 1, 3}, {0, 1}, 2, 2}, CalibrationKind::kTemperature},
      {"offsets suffice", {{2, 9, 1, 3}, {1, 1}, 2, 2}, CalibrationKind::kVectorScaling},
      {"two points", {{2, 1, 1, 3}, {0, 1}, 2, 2}, CalibrationKind::kVectorScaling},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    const FitOptions free{test.kind, 0};
    const auto rows = AllRows(test.data);
    const auto result = FitSoftmaxRegression(test.data.View(), rows, free, GoOnAlways);
    EXPECT_EQ(DetailOf(result.status()).reason, ErrorReason::kDataSeparable) << result.status();
    EXPECT_THAT(result.status().message(), HasSubstr("set l2 above 0"));
    if (!Check(test.data.View(), free).ok()) continue;
    EXPECT_THAT(FitSoftmaxRegression(test.data.View(), rows, {test.kind, 0.01}, GoOnAlways).status(), IsOk());
  }
}

TEST(SoftmaxRegressionTest, ScoresThatSpeakAgainstTheirLabelsHaveNoTemperature) {
  const Data data{{1, 2, 2, 1, 1, 2, 1, 2}, {0, 1, 0, 1}, 2, 2};
  const auto result = FitAll(data, {CalibrationKind::kTemperature, 0});
  EXPECT_EQ(DetailOf(result.status()).reason, ErrorReason::kFitUndefined) << result.status();
}

TEST(SoftmaxRegressionTest, ConstantAndEqualColumnsChangeNothing) {
  Data data = Planted(200, 3, 1, 1, 21);
  const auto plain = FitAll(data, {CalibrationKind::kMultinomial, 0.5});
  ASSERT_THAT(plain.status(), IsOk());
  Data wide{{}, data.labels, 4, 3};
  for (size_t i = 0; i < data.labels.size(); ++i) {
    for (size_t j = 0; j < 3; ++j) wide.values.push_back(data.values[i * 3 + j]);
    wide.values.push_back(1e6);
  }
  const auto fitted = FitAll(wide, {CalibrationKind::kMultinomial, 0.5});
  ASSERT_THAT(fitted.status(), IsOk());
  for (size_t k = 0; k < 3; ++k) {
    for (size_t j = 0; j < 3; ++j) EXPECT_NEAR(fitted->weights[k * 4 + j], plain->weights[k * 3 + j], 1e-7);
    EXPECT_EQ(fitted->weights[k * 4 + 3], 0);
  }
}

TEST(SoftmaxRegressionTest, BadInputIsATypedError) {
  const Data good{{1, 2, 3, 4}, {0, 1, 0, 1}, 1, 2};
  struct Case {
    const char* name;
    Data data;
    FitOptions options;
    ErrorReason reason;
    const char* message;
  };
  const double nan = std::nan("");
  const FitOptions multinomial{CalibrationKind::kMultinomial, 0};
  const Case cases[] = {
      {"no sample", {{}, {}, 1, 2}, multinomial, ErrorReason::kFieldRequired, "labels is required"},
      {"label too large",
       {{1, 2}, {0, 2}, 1, 2},
       multinomial,
       ErrorReason::kFieldOutOfRange,
       "labels[1] must be in [0, 2), got 2"},
      {"negative label",
       {{1, 2}, {-1, 1}, 1, 2},
       multinomial,
       ErrorReason::kFieldOutOfRange,
       "labels[0] must be in [0, 2), got -1"},
      {"one label only",
       {{1, 2}, {1, 1}, 1, 2},
       multinomial,
       ErrorReason::kLabelMissing,
       "labels must be such that label 0 has at least 1 samples, got 0"},
      {"NaN",
       {{1, nan}, {0, 1}, 1, 2},
       multinomial,
       ErrorReason::kFieldOutOfRange,
       "values[1] must be in [-1e+09, 1e+09], got nan"},
      {"infinite", {{1, HUGE_VAL}, {0, 1}, 1, 2}, multinomial, ErrorReason::kFieldOutOfRange, "values[1]"},
      {"ragged",
       {{1, 2, 3}, {0, 1}, 1, 2},
       multinomial,
       ErrorReason::kFieldOutOfRange,
       "values must be 2 numbers: 1 for each of 2 labels, got 3"},
      {"width",
       {{1, 2}, {0, 1}, 1, 2},
       {CalibrationKind::kTemperature, 0},
       ErrorReason::kFieldOutOfRange,
       "width must be 2, the label_count: one score for each label, got 1"},
      {"no width", {{}, {0, 1}, 0, 2}, multinomial, ErrorReason::kFieldOutOfRange, "width must be >= 1, got 0"},
      {"one label",
       {{1, 2}, {0, 0}, 1, 1},
       multinomial,
       ErrorReason::kLimitExceeded,
       "label_count must be in [2, 10000], got 1"},
      {"negative l2",
       good,
       {CalibrationKind::kMultinomial, -1},
       ErrorReason::kFieldOutOfRange,
       "l2 must be in [0, 1e+09], got -1"},
      {"l2 NaN", good, {CalibrationKind::kMultinomial, nan}, ErrorReason::kFieldOutOfRange, "l2 must be"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.name);
    const absl::Status status = Check(test.data.View(), test.options);
    EXPECT_EQ(DetailOf(status).reason, test.reason) << status;
    EXPECT_THAT(status.message(), HasSubstr(test.message));
  }
}

TEST(SoftmaxRegressionTest, TooLargeIsATypedError) {
  const FitOptions multinomial{CalibrationKind::kMultinomial, 1};
  const std::vector<int32_t> labels(kMaxFitSamples + 1, 0);
  EXPECT_EQ(DetailOf(Check({{}, labels, 1, 2}, multinomial)).limit, kMaxFitSamples.name);
  const std::vector<double> values(5'000'000);
  EXPECT_EQ(DetailOf(Check({values, std::span(labels).first(50'000), 100, 2}, multinomial)).limit, kMaxFitCells.name);
  EXPECT_EQ(DetailOf(Check({std::span(values).first(140), std::span(labels).first(2), 70, 9000}, multinomial)).limit,
            kMaxFitParameters.name);
  EXPECT_EQ(DetailOf(Check({{}, labels, 1, 10'001}, multinomial)).limit, kMaxFitLabels.name);
}

TEST(SoftmaxRegressionTest, ACallerThatGivesUpEndsTheFit) {
  const Data data = Planted(50, 3, 1, 1, 2);
  int calls = 0;
  const auto give_up = [&calls]() -> absl::Status { return ++calls < 3 ? absl::OkStatus() : errors::Cancelled(); };
  const auto result = FitSoftmaxRegression(data.View(), AllRows(data), {CalibrationKind::kMultinomial, 1}, give_up);
  EXPECT_EQ(DetailOf(result.status()).reason, ErrorReason::kCancelled);
}

// Whatever the numbers are, the fit is finite or a typed error.
TEST(SoftmaxRegressionTest, RandomInputNeverBlowsUp) {
  int fits = 0;
  int separable = 0;
  int undefined = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    Uniforms uniforms(seed);
    const auto kind = static_cast<CalibrationKind>(1 + seed % 3);
    const auto label_count = static_cast<int32_t>(2 + 4 * uniforms.Next());
    const int32_t width =
        kind == CalibrationKind::kMultinomial ? static_cast<int32_t>(1 + 5 * uniforms.Next()) : label_count;
    const auto samples = static_cast<int32_t>(label_count + 40 * uniforms.Next());
    Data data{{}, {}, width, label_count};
    // Half of the inputs have ordinary numbers.
    const bool is_ordinary = seed % 2 == 0;
    const double wild[] = {1, 1e-9, 1e9, 1e3, 0};
    const double ordinary[] = {1, 10, 0.1, 0, 3};
    for (int32_t i = 0; i < samples; ++i) {
      data.labels.push_back(i < label_count ? i : static_cast<int32_t>(label_count * uniforms.Next()));
      for (int32_t j = 0; j < width; ++j) {
        const double scale =
            (is_ordinary ? ordinary : wild)[static_cast<size_t>(5 * uniforms.Next() * uniforms.Next())];
        data.values.push_back(std::clamp(scale * uniforms.Noise(), -kMaxFitValue, kMaxFitValue));
      }
    }
    const double penalties[] = {0, 1e-9, 1, 1e9};
    const FitOptions options{kind, penalties[static_cast<size_t>(4 * uniforms.Next())]};
    const auto result = FitAll(data, options);
    if (result.ok()) {
      EXPECT_THAT(Validate(*result), IsOk());
      ++fits;
      continue;
    }
    const ErrorReason reason = DetailOf(result.status()).reason;
    if (is_ordinary && options.l2 >= 1 && kind != CalibrationKind::kTemperature) {
      ADD_FAILURE() << "seed " << seed << ": " << result.status();
    }
    if (reason == ErrorReason::kDataSeparable) {
      EXPECT_EQ(options.l2, 0);
      ++separable;
    } else {
      EXPECT_EQ(reason, ErrorReason::kFitUndefined) << result.status();
      ++undefined;
    }
  }
  EXPECT_GE(fits, 250) << separable << " separable, " << undefined << " undefined";
  EXPECT_GE(separable, 10);
}

TEST(CalibrationTest, ValidateNamesWhatIsWrong) {
  Calibration calibration{CalibrationKind::kVectorScaling, 2, 2, {1, 1}, {0, 0}};
  EXPECT_THAT(Validate(calibration), IsOk());
  calibration.weights[1] = std::nan("");
  EXPECT_THAT(Validate(calibration).message(), HasSubstr("weights[1] must be in [-1e+100, 1e+100], got nan"));
  calibration.weights = {1};
  EXPECT_THAT(Validate(calibration).message(), HasSubstr("weights must be 2 numbers, got 1"));
  EXPECT_THAT(Validate({CalibrationKind::kTemperature, 2, 2, {-1}, {}}).message(),
              HasSubstr("weights[0] must be > 0, got -1"));
  EXPECT_THAT(Validate({CalibrationKind::kTemperature, 1, 1, {1}, {}}).message(),
              HasSubstr("label_count must be >= 2, got 1"));
}

}  // namespace
}  // namespace logitd
