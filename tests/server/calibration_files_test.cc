#include "server/calibration_files.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::IsOk;
using logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CalibrationFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = ::testing::TempDir() + "/logitd-XXXXXX";
    folder_ = ::mkdtemp(folder.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string File(const std::string& text) {
    const std::string path = folder_ + "/" + std::to_string(count_++) + ".json";
    std::ofstream(path) << text;
    return path;
  }
  static absl::StatusOr<Calibrations> Read(const std::vector<std::string>& words) {
    return ReadCalibrations("--calibration", words);
  }
  // A file of two labels with its fingerprint.
  static std::string Good(const std::string& weight = "0.5") {
    v1::Calibration message;
    message.set_kind(v1::CALIBRATION_KIND_TEMPERATURE);
    message.set_input(v1::CALIBRATION_INPUT_SCORES);
    message.set_score(v1::NORMALIZATION_PER_BYTE);
    message.set_label_count(2);
    message.set_width(2);
    message.add_weights(0.5);
    return "{\"kind\": \"CALIBRATION_KIND_TEMPERATURE\", \"input\": \"CALIBRATION_INPUT_SCORES\", \"score\": "
           "\"NORMALIZATION_PER_BYTE\", \"label_count\": 2, \"width\": 2, \"weights\": [" +
           weight + "], \"label_names\": [\"no\", \"yes\"], \"fingerprint\": \"" + FingerprintOf(message) + "\"}";
  }

  std::string folder_;
  int count_ = 0;
};

TEST_F(CalibrationFilesTest, ReadsAFileByItsName) {
  const auto calibrations = Read({"a/b=" + File(Good())});
  ASSERT_THAT(calibrations, IsOk());
  const ServedCalibration& calibration = calibrations->at("a/b");
  EXPECT_EQ(calibration.model.kind, CalibrationKind::kTemperature);
  EXPECT_EQ(calibration.model.weights[0], 0.5);
  EXPECT_EQ(calibration.score, Normalization::kPerByte);
  EXPECT_EQ(calibration.label_names[1], "yes");
  EXPECT_THAT(Read({}), IsOk());
}

TEST_F(CalibrationFilesTest, WhatIsWrongIsNamed) {
  const std::string good = File(Good());
  const auto refuse = [this](const std::string& word, const char* what) {
    EXPECT_THAT(Read({word}),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("--calibration"), HasSubstr(what))));
  };
  refuse("name", "must be NAME=FILE, got name");
  refuse("name=", "must be NAME=FILE");
  refuse("=" + good, "a name must be 1 to 128 of");
  refuse("a b=" + good, "a name must be 1 to 128 of");
  refuse("a=" + File("{"), "is no calibration");
  refuse("a=" + File("{\"kind\": 1, \"unknown\": 2}"), "is no calibration");
  refuse("a=" + File(std::string("\0\xFF", 2)), "is no calibration");
  refuse("a=" + File("{}"), "kind is required");
  refuse("a=" + File(Good("0.25")), "fingerprint must be");
  refuse("a=" + File(Good("-1")), "weights[0] must be > 0, got -1");
  refuse("a=" + File(Good("\"NaN\"")), "weights[0] must be in");
  refuse("a=" + File(Good("0.5, 1")), "weights must be 1 numbers, got 2");
  refuse("a=" + File("{\"kind\": 3, \"input\": 2}"), "input must be CALIBRATION_INPUT_SCORES");
  EXPECT_THAT(Read({"a=" + good, "a=" + good}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("given twice")));
  EXPECT_THAT(Read({"a=" + folder_}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("there is no file")));
  EXPECT_THAT(Read({"a=/nowhere/x"}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("there is no file")));
  const std::string large = File("");
  std::filesystem::resize_file(large, 9 << 20);
  refuse("a=" + large, "must be at most");
}

}  // namespace
}  // namespace logitd::server
