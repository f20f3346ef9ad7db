#include "client/runner/llama/model_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/testing/matchers.h"

namespace logitd::runner {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::StatusIs;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

absl::Status Check(const std::vector<float>& row) { return CheckProbedRow(row.data(), static_cast<int>(row.size())); }

// Rows of whole models are asked in tests/e2e/model_file_test.py.
TEST(ModelProbeTest, ARowOfALanguageModelHasDifferentFiniteLogits) {
  EXPECT_THAT(Check({0.5f, 0.25f, 0.5f}), IsOk());
  // Tokens that the model excludes.
  EXPECT_THAT(Check({-kInfinity, 1.0f, 2.0f}), IsOk());
  // Nothing to tell apart.
  EXPECT_THAT(Check({3.0f}), IsOk());
}

TEST(ModelProbeTest, AConstantRowIsRefused) {
  for (const std::vector<float>& row : {std::vector<float>{0, 0, 0}, {7.5f, 7.5f}, {-kInfinity, 1.0f, 1.0f}}) {
    EXPECT_THAT(Check(row), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the same logit")));
  }
  EXPECT_THAT(Check({-kInfinity, -kInfinity}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("logit")));
}

TEST(ModelProbeTest, ARowThatIsNotFiniteIsRefused) {
  for (const std::vector<float>& row : {std::vector<float>{0, kNan, 1}, {0, kInfinity}}) {
    EXPECT_THAT(Check(row), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not numbers")));
  }
}

}  // namespace
}  // namespace logitd::runner
