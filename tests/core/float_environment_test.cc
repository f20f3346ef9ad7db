#include "core/float_environment.h"

#include <limits>
#include <thread>
#include <vector>

#include "core/distribution.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"
#include "tests/testing/weights.h"

namespace logitd {
namespace {

using ::logitd::testing::IsOk;

#if defined(__x86_64__)
// What -ffast-math does to the threads of a program that links it.
void FlushSubnormals() { __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040); }

class FloatEnvironmentTest : public testing::EveryTarget {
 protected:
  ~FloatEnvironmentTest() override { UseExactFloats(); }
};
LOGITD_ON_EVERY_TARGET(FloatEnvironmentTest);

TEST_P(FloatEnvironmentTest, RowsOfSubnormalLogitsAreReadExactlyInAnyThread) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  // In order: 4, 2, 1, 0; flushed to zero they would tie, and id 0 would come first.
  const std::vector<float> row = {0, 100 * tiny, 200 * tiny, -tiny, 300 * tiny};
  Distribution expected;
  ASSERT_THAT(expected.Assign(row, {.temperature = 0.7, .top_k = 2}, {}), IsOk());
  std::thread([&] {
    FlushSubnormals();
    EXPECT_FALSE(FloatsAreExact());
    Distribution found;
    ASSERT_THAT(found.Assign(row, {.temperature = 0.7, .top_k = 2}, {}), IsOk());
    EXPECT_TRUE(FloatsAreExact());
    EXPECT_EQ(found.argmax(), 4);
    for (TokenId t = 0; t < static_cast<TokenId>(row.size()); ++t) EXPECT_EQ(found.Keeps(t), t == 2 || t == 4);
    EXPECT_EQ(testing::WeightsOf(found), testing::WeightsOf(expected));
    EXPECT_EQ(found.LogProb(2), expected.LogProb(2));
    EXPECT_EQ(found.Entropy(), expected.Entropy());
    FlushSubnormals();
    const auto statistics = ReadRow(row);
    ASSERT_THAT(statistics.status(), IsOk());
    EXPECT_EQ(statistics->argmax, 4);
  }).join();
}

// A thread starts with the mode of the one that makes it: why every thread that computes sets its own.
TEST(FloatEnvironmentInheritanceTest, ThreadsInheritTheMode) {
  FlushSubnormals();
  bool inherited_exact = true;
  std::thread([&] {
    inherited_exact = FloatsAreExact();
    UseExactFloats();
    EXPECT_TRUE(FloatsAreExact());
  }).join();
  EXPECT_FALSE(inherited_exact);
  EXPECT_FALSE(FloatsAreExact());
  UseExactFloats();
  EXPECT_TRUE(FloatsAreExact());
}
#endif

}  // namespace
}  // namespace logitd
