#include "client/runner/llama/batch_tolerance.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>

#include "gmock/gmock.h"

namespace logitd::runner {
namespace {

namespace fs = std::filesystem;

class CachedBatchToleranceTest : public ::testing::Test {
 protected:
  CachedBatchToleranceTest() { fs::create_directories(folder_); }
  ~CachedBatchToleranceTest() override { fs::remove_all(folder_); }

  // What is stated if a measurement gives `measured`; counts the measurements.
  std::optional<double> Stated(std::optional<double> measured) {
    return CachedBatchTolerance(folder_.string(), "key", [&] {
      ++measurements_;
      return measured;
    });
  }

  const fs::path folder_ = fs::path(::testing::TempDir()) / ("tolerance-" + std::to_string(::getpid()));
  int measurements_ = 0;
};

TEST_F(CachedBatchToleranceTest, IsMeasuredOnceAndKeptToTheBit) {
  EXPECT_EQ(Stated(0.1), 0.1);
  EXPECT_EQ(Stated(0.7), 0.1);
  EXPECT_EQ(measurements_, 1);
}

TEST_F(CachedBatchToleranceTest, WhatCouldNotBeMeasuredIsMeasuredAgain) {
  EXPECT_EQ(Stated(std::nullopt), std::nullopt);
  EXPECT_EQ(Stated(0.7), 0.7);
  EXPECT_EQ(measurements_, 2);
}

TEST_F(CachedBatchToleranceTest, WhatIsNoNumberIsMeasuredAgain) {
  for (const char* text : {"", "nonsense", "-1", "0", "inf", "nan"}) {
    std::ofstream(folder_ / "key.tolerance") << text;
    EXPECT_EQ(Stated(0.7), 0.7) << text;
  }
}

TEST_F(CachedBatchToleranceTest, WithoutAFolderNothingIsKept) {
  const auto measure = [] { return std::optional<double>(0.7); };
  EXPECT_EQ(CachedBatchTolerance("", "key", measure), 0.7);
  EXPECT_EQ(CachedBatchTolerance("/proc/nowhere", "key", measure), 0.7);
}

TEST(ToleranceKeyTest, EveryPartCounts) {
  const std::set<std::string> keys = {ToleranceKey("weights", "f32", 1), ToleranceKey("weightz", "f32", 1),
                                      ToleranceKey("weights", "f16", 1), ToleranceKey("weights", "f32", 2),
                                      ToleranceKey("weights", "f32", 12)};
  EXPECT_EQ(keys.size(), 5u);
  for (const std::string& key : keys) {
    EXPECT_EQ(key.size(), 64u);
    EXPECT_EQ(key.find_first_not_of("0123456789abcdef"), std::string::npos);
  }
  EXPECT_EQ(ToleranceKey("weights", "f32", 1), ToleranceKey("weights", "f32", 1));
}

}  // namespace
}  // namespace logitd::runner
