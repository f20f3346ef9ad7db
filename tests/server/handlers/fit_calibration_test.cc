#include "server/handlers/fit_calibration.h"

#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <string>

#include "core/exact_math.h"
#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProto;
using logitd::testing::Parse;
using ::testing::HasSubstr;

class FitCalibrationTest : public logitd::testing::InProcessServer {
 protected:
  grpc::Status Fit(const v1::FitCalibrationRequest& request) {
    return fitting_->FitCalibration(Context().get(), request, &response_);
  }
  std::string Refused(const std::string& request) {
    const grpc::Status status = Fit(Parse<v1::FitCalibrationRequest>(request));
    return Describe(status);
  }

  v1::FitCalibrationResponse response_;
};

// Scores of three labels, of which the largest is right in two cases of three: over-confident.
v1::FitCalibrationRequest Overconfident() {
  v1::FitCalibrationRequest request;
  request.set_kind(v1::CALIBRATION_KIND_TEMPERATURE);
  request.set_label_count(3);
  for (int i = 0; i < 300; ++i) {
    const int largest = i % 3;
    for (int k = 0; k < 3; ++k) request.add_values(k == largest ? 4 + 0.1 * (i % 7) : 0.3 * k);
    request.add_labels(i % 9 < 6 ? largest : (largest + 1 + i % 2) % 3);
  }
  return request;
}

TEST_F(FitCalibrationTest, TheFitComesWithItsEvaluation) {
  v1::FitCalibrationRequest request = Overconfident();
  for (const char* name : {"a", "b", "c"}) request.add_label_names(name);
  ASSERT_TRUE(Fit(request).ok());
  const v1::Calibration& calibration = response_.calibration();
  EXPECT_EQ(calibration.kind(), v1::CALIBRATION_KIND_TEMPERATURE);
  EXPECT_EQ(calibration.input(), v1::CALIBRATION_INPUT_SCORES);
  EXPECT_EQ(calibration.score(), v1::NORMALIZATION_SUM);
  ASSERT_EQ(calibration.weights_size(), 1);
  EXPECT_GT(1 / calibration.weights(0), 2);
  EXPECT_TRUE(calibration.offsets().empty());
  EXPECT_EQ(calibration.label_names(1), "b");
  EXPECT_EQ(calibration.sample_count(), 300);
  EXPECT_EQ(calibration.fingerprint().size(), 64u);
  const v1::CalibrationEvaluation& evaluation = calibration.evaluation();
  EXPECT_EQ(evaluation.folds(), 5);
  EXPECT_EQ(evaluation.bootstrap_count(), 1000);
  EXPECT_EQ(evaluation.bins_after_size(), 15);
  EXPECT_LT(evaluation.after().nll().value(), evaluation.before().nll().value());
  EXPECT_LT(evaluation.after().nll().lower(), evaluation.after().nll().value());
  EXPECT_GT(evaluation.after().nll().upper(), evaluation.after().nll().value());
  EXPECT_DOUBLE_EQ(evaluation.difference().nll().value(),
                   evaluation.after().nll().value() - evaluation.before().nll().value());
  EXPECT_LT(evaluation.difference().nll().upper(), 0);
  EXPECT_EQ(evaluation.before().accuracy().value(), 0.67);
  int64_t samples = 0;
  for (const auto& bin : evaluation.bins_after()) samples += bin.count();
  EXPECT_EQ(samples, 300);
  EXPECT_EQ(response_.provenance().numerics_version(), 1);
  EXPECT_FALSE(response_.provenance().has_model());
  // Equal requests have equal bits.
  const v1::FitCalibrationResponse first = response_;
  ASSERT_TRUE(Fit(request).ok());
  EXPECT_THAT(response_, EqualsProto(first));
  // The JSON of the file has the same bits.
  std::string json;
  ASSERT_TRUE(google::protobuf::util::MessageToJsonString(calibration, &json).ok());
  v1::Calibration read;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &read).ok());
  EXPECT_THAT(read, EqualsProto(calibration));
}

TEST_F(FitCalibrationTest, FeaturesHaveNothingBefore) {
  v1::FitCalibrationRequest request = Overconfident();
  request.set_kind(v1::CALIBRATION_KIND_MULTINOMIAL);
  request.set_input(v1::CALIBRATION_INPUT_FEATURES);
  request.set_l2(1);
  request.set_bootstrap_count(0);
  ASSERT_TRUE(Fit(request).ok());
  EXPECT_EQ(response_.calibration().weights_size(), 9);
  EXPECT_EQ(response_.calibration().offsets_size(), 3);
  EXPECT_EQ(response_.calibration().score(), v1::NORMALIZATION_UNSPECIFIED);
  EXPECT_FALSE(response_.calibration().evaluation().has_before());
  EXPECT_FALSE(response_.calibration().evaluation().after().nll().has_lower());
  request.set_folds(0);
  ASSERT_TRUE(Fit(request).ok());
  EXPECT_FALSE(response_.calibration().has_evaluation());
}

TEST_F(FitCalibrationTest, BadInputIsATypedError) {
  const std::string good = "label_count: 2 values: [1, 2, 2, 1, 1, 2, 2, 1] labels: [0, 1, 1, 0] ";
  const std::string temperature = good + "kind: CALIBRATION_KIND_TEMPERATURE ";
  EXPECT_EQ(Refused(good), "FIELD_REQUIRED of kind");
  EXPECT_EQ(Refused(temperature + "width: 3"), "FIELD_OUT_OF_RANGE of width");
  EXPECT_EQ(Refused(temperature + "labels: 0"), "FIELD_OUT_OF_RANGE of values");
  EXPECT_EQ(Refused(temperature + "labels: 2 values: [0, 0]"), "FIELD_OUT_OF_RANGE of labels[4]");
  EXPECT_EQ(Refused(temperature + "labels: 1 values: [0, nan]"), "FIELD_OUT_OF_RANGE of values[9]");
  EXPECT_EQ(Refused(temperature + "labels: 1 values: [0, -inf]"), "FIELD_OUT_OF_RANGE of values[9]");
  EXPECT_EQ(Refused(temperature + "l2: -1"), "FIELD_OUT_OF_RANGE of l2");
  EXPECT_EQ(Refused(temperature + "folds: 1"), "FIELD_OUT_OF_RANGE of folds");
  EXPECT_EQ(Refused(temperature + "folds: 101"), "FIELD_OUT_OF_RANGE of folds");
  EXPECT_EQ(Refused(temperature + "bin_count: 0"), "FIELD_OUT_OF_RANGE of bin_count");
  EXPECT_EQ(Refused(temperature + "bootstrap_count: -1"), "LIMIT_EXCEEDED of bootstrap_count");
  EXPECT_EQ(Refused(temperature + "label_names: 'a'"), "FIELD_OUT_OF_RANGE of label_names");
  EXPECT_EQ(Refused(temperature + "score: NORMALIZATION_GNMT"), "FIELD_REQUIRED of gnmt_alpha");
  EXPECT_EQ(Refused(temperature + "score: NORMALIZATION_SUM gnmt_alpha: 1"), "FIELDS_EXCLUSIVE of gnmt_alpha");
  EXPECT_EQ(Refused(temperature + "input: CALIBRATION_INPUT_FEATURES"), "FIELD_OUT_OF_RANGE of kind");
  EXPECT_EQ(Refused("kind: CALIBRATION_KIND_TEMPERATURE label_count: 2"), "FIELD_REQUIRED of labels");
  EXPECT_EQ(Refused("kind: CALIBRATION_KIND_TEMPERATURE"), "LIMIT_EXCEEDED of label_count");
  EXPECT_EQ(Refused("kind: CALIBRATION_KIND_VECTOR_SCALING label_count: 2 values: [1, 2] labels: [0]"),
            "LABEL_MISSING of labels");
  EXPECT_EQ(Refused("kind: CALIBRATION_KIND_VECTOR_SCALING label_count: 2 l2: 1 values: [1, 2, 2, 1] labels: [0, 1]"),
            "LABEL_MISSING of labels")
      << "folds need two samples of each label";
  EXPECT_EQ(Refused("kind: CALIBRATION_KIND_TEMPERATURE label_count: 2 values: [2, 1, 1, 2] labels: [0, 1]"),
            "DATA_SEPARABLE of labels");
  EXPECT_EQ(Refused("kind: CALIBRATION_KIND_TEMPERATURE label_count: 2 values: [1, 2, 1, 2, 2, 1] labels: [0, 0, 0] "
                    "labels: 1 values: [2, 1] folds: 0"),
            "FIT_UNDEFINED of ");
  EXPECT_EQ(Refused("kind: 9"), "UNKNOWN_ENUM_VALUE of kind");
}

TEST_F(FitCalibrationTest, AFitEndsAtItsDeadline) {
  v1::FitCalibrationRequest request;
  request.set_kind(v1::CALIBRATION_KIND_MULTINOMIAL);
  request.set_input(v1::CALIBRATION_INPUT_FEATURES);
  request.set_label_count(40);
  request.set_width(100);
  request.set_l2(1e-6);
  uint64_t state = 1;
  for (int i = 0; i < 20'000; ++i) {
    for (int j = 0; j < 100; ++j) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      request.add_values(static_cast<double>(state >> 40) * 0x1p-24);
    }
    request.add_labels(i % 40);
  }
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(400));
  EXPECT_EQ(fitting_->FitCalibration(&context, request, &response_).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The server's thread is free again soon after: a drain does not wait for the fit.
  const auto begin = std::chrono::steady_clock::now();
  server_->Drain(std::chrono::seconds(30));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
}

}  // namespace
}  // namespace logitd::server
