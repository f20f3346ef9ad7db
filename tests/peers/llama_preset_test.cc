// The preset LLAMA_CPP against libllama: the same tokens survive, with the same probabilities.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/distribution.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/peers/llama_sampler.h"
#include "tests/testing/matchers.h"
#include "tests/testing/peer_samplers.h"
#include "tests/testing/random_stages.h"
#include "tests/testing/stage_reference.h"
#include "tests/testing/weights.h"

namespace logitd::testing {
namespace {

TEST(LlamaPresetTest, GivesLlamaCppsSetAndProbabilities) {
  Distribution distribution;
  int compared = 0;
  for (uint64_t seed = 0; compared < 1000; ++seed) {
    ASSERT_LT(seed, 1500) << "too many rows are left out";
    RandomStep step = MakeRandomStep(StagePreset::kLlamaCpp, seed);
    step.params = RoundedToFloat(step.params);
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    if (ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts()).kept.empty()) continue;
    if (!LibllamaIsDefinedOn(step)) continue;
    // A cut within 1e-6 of mass or 4 ulp of a logit of a token is decided by rounding.
    if (TooNear(SampleAsLlamaCpp(step.row, step.params, step.context()).cuts, {})) continue;
    ++compared;
    const PeerResult llama = SampleWithLibllama(step.row, step.params, step.context());
    ASSERT_THAT(distribution.Assign(step.row, step.params, step.context()), IsOk());
    const std::vector<TokenId> kept = KeptOf(distribution);
    ASSERT_EQ(kept, llama.kept);
    for (TokenId t : kept) {
      // It rounds the logit after every stage, and once more divided by the temperature.
      const double rounding = 0x1p-22 * (std::abs(step.row[t]) + 10) / step.params.temperature;
      const double p = std::exp(distribution.LogProb(t));
      ASSERT_NEAR(p, llama.probabilities[t], 1e-6 + rounding * p) << t;
    }
  }
}

}  // namespace
}  // namespace logitd::testing
