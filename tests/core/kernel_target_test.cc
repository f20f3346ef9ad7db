#include "core/kernel_target.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(KernelTargetTest, TheDefaultIsTheBest) { EXPECT_EQ(KernelTarget(), AvailableKernelTargets().front()); }

TEST(KernelTargetTest, EveryProcessorHasTheScalarOneLast) { EXPECT_EQ(AvailableKernelTargets().back(), "SCALAR"); }

TEST(KernelTargetTest, IsSelectedByNameInAnyCase) {
  const std::string best = KernelTarget();
  for (const std::string& name : AvailableKernelTargets()) {
    EXPECT_THAT(SelectKernelTarget(name), IsOk());
    EXPECT_EQ(KernelTarget(), name);
  }
  EXPECT_THAT(SelectKernelTarget("Scalar"), IsOk());
  EXPECT_EQ(KernelTarget(), "SCALAR");
  EXPECT_THAT(SelectKernelTarget(best), IsOk());
}

TEST(KernelTargetTest, AnotherNameIsRefusedAndChangesNothing) {
  const std::string before = KernelTarget();
  for (const char* name : {"", "sse4", "AVX", "avx 512"}) {
    EXPECT_THAT(SelectKernelTarget(name),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("kernel_target must be "), HasSubstr("SCALAR"), HasSubstr("got"))));
    EXPECT_EQ(KernelTarget(), before);
  }
}

}  // namespace
}  // namespace logitd
