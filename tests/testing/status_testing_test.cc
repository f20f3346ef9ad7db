// The matchers themselves: that they can fail.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MatchersTest, StatusesMatchByCodeMessageAndReason) {
  const absl::Status error = errors::OutOfRange("top_p", 1.5, "[0, 1]");
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(error, Not(IsOk()));
  EXPECT_THAT(error, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(error, Not(StatusIs(absl::StatusCode::kInternal)));
  EXPECT_THAT(error, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1.5")));
  EXPECT_THAT(error, Not(StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2.5"))));
  EXPECT_THAT(error, HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(error, Not(HasReason(ErrorReason::kFieldRequired)));
  EXPECT_THAT(absl::OkStatus(), Not(HasReason(ErrorReason::kInternal)));
}

TEST(MatchersTest, ResultsMatchByValue) {
  const absl::StatusOr<int> seven = 7;
  EXPECT_THAT(seven, IsOkAndHolds(7));
  EXPECT_THAT(seven, Not(IsOkAndHolds(8)));
  const absl::StatusOr<int> error = errors::Internal("x");
  EXPECT_THAT(error, Not(IsOkAndHolds(7)));
  EXPECT_THAT(error, StatusIs(absl::StatusCode::kInternal));
}

TEST(MatchersTest, FailuresShowCodeReasonAndMessage) {
  EXPECT_EQ(Describe(errors::Required("model")), "INVALID_ARGUMENT FIELD_REQUIRED: model is required");
}

}  // namespace
}  // namespace logitd::testing
