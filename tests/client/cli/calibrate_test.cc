#include <filesystem>
#include <fstream>
#include <sstream>

#include "client/cli/calibration_input.h"
#include "client/cli/calibration_view.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::DoAll;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Return;
using ::testing::SaveArg;
using ::testing::SetArgPointee;

constexpr char kFitted[] = R"pb(
  calibration {
    kind: CALIBRATION_KIND_VECTOR_SCALING
    input: CALIBRATION_INPUT_SCORES
    score: NORMALIZATION_SUM
    label_count: 2
    width: 2
    label_names: "no"
    label_names: "<yes>"
    weights: [ 0.5, 2 ]
    offsets: [ 1, -1 ]
    sample_count: 40
    evaluation {
      folds: 5
      bootstrap_count: 10
      before {
        nll { value: 0.9 lower: 0.8 upper: 1 }
        ece { value: 0.25 }
        accuracy { value: 0.5 }
      }
      after {
        nll { value: 0.6 lower: 0.5 upper: 0.7 }
        ece { value: 0.05 }
        accuracy { value: 0.5 }
      }
      difference { nll { value: -0.3 lower: -0.4 upper: -0.2 } }
      nll_difference_standard_error: 0.05
      bins_before { lower: 0 upper: 0.5 }
      bins_before { lower: 0.5 upper: 1 count: 40 confidence: 0.75 accuracy: 0.5 }
      bins_after { lower: 0 upper: 0.5 }
      bins_after { lower: 0.5 upper: 1 count: 40 confidence: 0.55 accuracy: 0.5 }
    }
  }
)pb";

class CalibrateTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args) {
    v1::FitCalibrationResponse response;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kFitted, &response));
    EXPECT_CALL(rig_.fitting(), FitCalibration)
        .WillRepeatedly(DoAll(SaveArg<1>(&request_), SetArgPointee<2>(response), Return(grpc::Status::OK)));
    args.insert(args.begin(), "calibrate");
    return rig_.Run(args);
  }

  CommandRig rig_;
  v1::FitCalibrationRequest request_;
};

TEST_F(CalibrateTest, SendsTheSamplesAndShowsTheFit) {
  rig_.SetInput("{\"scores\": [1, 2.5], \"label\": 1}\n\n{\"scores\": [-1, 0], \"label\": \"no\"}\n");
  EXPECT_EQ(Run({"--kind", "vector-scaling", "--l2", "0.5", "--label-names", "no", "--label-names", "yes", "--seed",
                 "3", "--folds", "4"}),
            kExitOk);
  EXPECT_THAT(request_.values(), ElementsAre(1, 2.5, -1, 0));
  EXPECT_THAT(request_.labels(), ElementsAre(1, 0));
  EXPECT_EQ(request_.kind(), v1::CALIBRATION_KIND_VECTOR_SCALING);
  EXPECT_EQ(request_.input(), v1::CALIBRATION_INPUT_SCORES);
  EXPECT_EQ(request_.label_count(), 2);
  EXPECT_EQ(request_.width(), 2);
  EXPECT_EQ(request_.l2(), 0.5);
  EXPECT_EQ(request_.seed(), 3u);
  EXPECT_EQ(request_.folds(), 4);
  EXPECT_THAT(rig_.out(), HasSubstr("0.6000 [0.5000, 0.7000]"));
  EXPECT_THAT(rig_.out(), HasSubstr("improves samples"));
  EXPECT_THAT(rig_.out(), HasSubstr("--out FILE writes"));
}

TEST_F(CalibrateTest, WritesTheFileAndThePicture) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "logitd-calibrate-test";
  std::filesystem::create_directory(folder);
  rig_.SetInput("{\"features\": [1, 2.5], \"label\": 1}\n{\"features\": [-1, 0], \"label\": 3}\n");
  EXPECT_EQ(Run({"-", "--kind", "multinomial", "--out", folder / "c.json", "--svg", folder / "c.svg"}), kExitOk);
  EXPECT_EQ(request_.input(), v1::CALIBRATION_INPUT_FEATURES);
  EXPECT_EQ(request_.label_count(), 4);
  std::stringstream file;
  file << std::ifstream(folder / "c.json").rdbuf();
  EXPECT_THAT(file.str(), HasSubstr("\"weights\":[0.5,2]"));
  std::stringstream picture;
  picture << std::ifstream(folder / "c.svg").rdbuf();
  EXPECT_THAT(picture.str(), HasSubstr("before: error 0.2500, NLL 0.9000"));
  EXPECT_THAT(picture.str(), Not(HasSubstr("<yes>")));
  EXPECT_THAT(rig_.out(), Not(HasSubstr("--out FILE writes")));
  std::filesystem::remove_all(folder);
}

TEST_F(CalibrateTest, AFileThatCannotBeWrittenIsSaid) {
  rig_.SetInput("{\"scores\": [1, 2.5], \"label\": 1}\n{\"scores\": [-1, 0], \"label\": 0}\n");
  EXPECT_EQ(Run({"--out", "/nowhere/c.json"}), kExitNotWritten);
  EXPECT_THAT(rig_.err(), HasSubstr("cannot write /nowhere/c.json"));
}

TEST_F(CalibrateTest, OtherNumbersOfLabelsThanSamplesAreAUsageError) {
  std::istringstream in("{\"scores\": [1, 2]}\n{\"scores\": [1, 2]}\n");
  std::istringstream labels("1\n");
  v1::FitCalibrationRequest request;
  const absl::Status status = ReadSamples(in, "in", &labels, request);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--labels must be 2 lines, one for each sample, got \"1\""));
}

}  // namespace
}  // namespace logitd::cli
