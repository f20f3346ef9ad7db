// Steps with random rows, tokens so far and parameters, for comparing implementations of the stages.
//
//   for (uint64_t seed = 0; seed < 1000; ++seed) {
//     const RandomStep step = MakeRandomStep(StagePreset::kHf, seed);
//     Compare(ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts()), ...);
//
// The same for the same seed on every machine.
#ifndef LOGITD_TESTS_TESTING_RANDOM_STAGES_H_
#define LOGITD_TESTS_TESTING_RANDOM_STAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/logits_processor.h"
#include "core/sampling_params.h"
#include "core/stages.h"
#include "core/types.h"

namespace logitd::testing {

struct RandomStep {
  std::vector<float> row;
  std::vector<TokenId> prompt;
  std::vector<TokenId> output;
  std::vector<TokenId> excluded;
  SamplingParams params;

  // A view of this object.
  StepContext context() const { return {.prompt = prompt, .output = output, .excluded = excluded}; }
  // xtc.probability is 0 or 1, so that no draw is needed.
  bool xtc_acts() const { return params.xtc.probability == 1; }
  // The plan, the temperature and the sizes, for failure messages.
  std::string Describe() const;
};

// A row of 1 to 1,000 tokens, some of them -inf, and parameters in which each stage that the preset has is on in about
// every third step, with the preset's rules. Temperatures are in [0.3, 2.5], sometimes 1.
RandomStep MakeRandomStep(StagePreset preset, uint64_t seed);
// The same with all stages in a random order and random rules of the cuts.
RandomStep MakeRandomOrderStep(uint64_t seed);

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_RANDOM_STAGES_H_
