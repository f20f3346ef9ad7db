// libllama against what tests/testing/peer_samplers.h says of it: the double in which presets are tested elsewhere.
#include "tests/peers/llama_sampler.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/peer_samplers.h"
#include "tests/testing/random_stages.h"
#include "tests/testing/stage_reference.h"

namespace logitd::testing {
namespace {

TEST(LlamaSamplerTest, DoesWhatTheReferenceSaysOfIt) {
  int compared = 0, dry = 0;
  for (uint64_t seed = 0; compared < 1000; ++seed) {
    ASSERT_LT(seed, 1500) << "too many rows are left out";
    RandomStep step = MakeRandomStep(StagePreset::kLlamaCpp, seed);
    step.params = RoundedToFloat(step.params);
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    if (ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts()).kept.empty()) continue;
    if (!LibllamaIsDefinedOn(step)) continue;
    const PeerResult expected = SampleAsLlamaCpp(step.row, step.params, step.context());
    if (TooNear(expected.cuts, {})) continue;
    ++compared;
    if (IsOn(step.params, Stage::kDry)) ++dry;
    const PeerResult result = SampleWithLibllama(step.row, step.params, step.context());
    ASSERT_EQ(result.kept, expected.kept);
    for (TokenId t : expected.kept) {
      // It rounds the logit after every stage, and once more divided by the temperature.
      const double rounding = 0x1p-22 * (std::abs(step.row[t]) + 10) / step.params.temperature;
      ASSERT_NEAR(result.probabilities[t], expected.probabilities[t], 1e-6 + rounding * expected.probabilities[t]) << t;
    }
  }
  EXPECT_GT(dry, 200);
}

}  // namespace
}  // namespace logitd::testing
