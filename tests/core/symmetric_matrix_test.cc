#include "core/symmetric_matrix.h"

#include <vector>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOkAndHolds;

absl::Status Go() { return absl::OkStatus(); }

// [[4, 2, 0], [2, 5, 3], [0, 3, 6]], with determinant 60.
SymmetricMatrix Example() {
  SymmetricMatrix matrix(3);
  matrix.at(0, 0) = 4, matrix.at(0, 1) = 2, matrix.at(1, 1) = 5;
  matrix.at(1, 2) = 3, matrix.at(2, 2) = 6;
  return matrix;
}

TEST(SymmetricMatrixTest, SolvesAndInverts) {
  SymmetricMatrix matrix = Example();
  ASSERT_THAT(matrix.Factorize(Go), IsOkAndHolds(true));
  std::vector<double> x = {4 * 1 + 2 * -2, 2 * 1 + 5 * -2 + 3 * 3, 3 * -2 + 6 * 3};
  matrix.Solve(x);
  EXPECT_NEAR(x[0], 1, 1e-15);
  EXPECT_NEAR(x[1], -2, 1e-15);
  EXPECT_NEAR(x[2], 3, 1e-15);
  ASSERT_OK_AND_ASSIGN(const std::vector<double> diagonal, matrix.InverseDiagonal(Go));
  EXPECT_NEAR(diagonal[0], 21.0 / 60, 1e-15);
  EXPECT_NEAR(diagonal[1], 24.0 / 60, 1e-15);
  EXPECT_NEAR(diagonal[2], 16.0 / 60, 1e-15);
}

TEST(SymmetricMatrixTest, WhatIsNotPositiveDefiniteIsFound) {
  SymmetricMatrix matrix(2);
  matrix.at(0, 0) = 1, matrix.at(1, 0) = 2, matrix.at(1, 1) = 4;
  EXPECT_THAT(matrix.Factorize(Go), IsOkAndHolds(false));
}

TEST(SymmetricMatrixTest, TheCheckEndsTheWork) {
  SymmetricMatrix matrix = Example();
  EXPECT_THAT(matrix.Factorize(errors::Cancelled), HasReason(ErrorReason::kCancelled));
  SymmetricMatrix other = Example();
  ASSERT_THAT(other.Factorize(Go), IsOkAndHolds(true));
  EXPECT_THAT(other.InverseDiagonal(errors::Cancelled), HasReason(ErrorReason::kCancelled));
}

}  // namespace
}  // namespace logitd
