#include "core/sampling_params.h"

#include <cmath>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(SamplingParamsTest, TakesTheEndsOfEveryRange) {
  EXPECT_THAT(Validate({}), IsOk());
  for (double temperature : {0.0, -0.0, 1e-4, 0.7, 1e6}) {
    EXPECT_THAT(Validate({.temperature = temperature}), IsOk()) << temperature;
  }
  for (double p : {0.0, 5e-324, 0.3, 1.0}) {
    EXPECT_THAT(Validate({.top_p = p}), IsOk()) << p;
    EXPECT_THAT(Validate({.min_p = p}), IsOk()) << p;
  }
  EXPECT_THAT(Validate({.top_k = std::numeric_limits<int32_t>::max()}), IsOk());
}

TEST(SamplingParamsTest, RefusesWhatIsOutsideAndNamesTheField) {
  struct Case {
    const char* name;
    SamplingParams params;
    const char* field;
    const char* message;
  };
  const Case cases[] = {
      {"negative", {.temperature = -1}, "temperature", "temperature must be 0 or in [0.0001, 1e+06], got -1"},
      {"nan", {.temperature = kNan}, "temperature", "temperature must be 0 or in [0.0001, 1e+06], got nan"},
      {"tiny", {.temperature = 0.99e-4}, "temperature", "temperature must be 0 or in [0.0001, 1e+06], got 9.9e-05"},
      {"huge", {.temperature = 1e7}, "temperature", "temperature must be 0 or in [0.0001, 1e+06], got 1e+07"},
      {"infinite", {.temperature = kInf}, "temperature", "temperature must be 0 or in [0.0001, 1e+06], got inf"},
      {"top_k", {.top_k = -1}, "top_k", "top_k must be >= 0, got -1"},
      {"top_p above", {.top_p = 1.5}, "top_p", "top_p must be in [0, 1], got 1.5"},
      {"top_p nan", {.top_p = kNan}, "top_p", "top_p must be in [0, 1], got nan"},
      {"min_p below", {.min_p = -0.1}, "min_p", "min_p must be in [0, 1], got -0.1"},
      {"min_p nan", {.min_p = kNan}, "min_p", "min_p must be in [0, 1], got nan"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = Validate(c.params);
    EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
    EXPECT_EQ(DetailOf(status).field, c.field);
    EXPECT_EQ(std::string(status.message()), c.message);
  }
}

}  // namespace
}  // namespace logitd
