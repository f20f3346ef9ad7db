// Every stage again, over a sorted vector and in double, simple enough to be right by reading. It shares no code with
// core/: of core it knows the parameters alone. Never linked into the server.
//
//   const StageReference reference = ReferenceOfStages(row, params, context, /*xtc_acts=*/true);
//   if (TooNear(reference.cuts, {})) continue;   // core's weights may fall on the other side
//   EXPECT_EQ(kept, reference.kept);
#ifndef LOGITD_TESTS_TESTING_STAGE_REFERENCE_H_
#define LOGITD_TESTS_TESTING_STAGE_REFERENCE_H_

#include <limits>
#include <span>
#include <vector>

#include "core/logits_processor.h"
#include "core/sampling_params.h"
#include "core/stages.h"
#include "core/types.h"

namespace logitd::testing {

// How near one cut came to a token that it decided about; infinite where it was not decided in that unit.
struct CutDistance {
  Stage stage = Stage::kTopK;
  // Probability, of what the stage before left.
  double mass = std::numeric_limits<double>::infinity();
  // Nats, after the temperature if it came before.
  double nats = std::numeric_limits<double>::infinity();
  // The same in units of the f32 logit's last place.
  double ulps = std::numeric_limits<double>::infinity();
};

// Below these an implementation that rounds otherwise may decide otherwise.
struct NearLimits {
  double mass = 1e-6;
  double ulps = 4;
  // For cuts whose place is itself a sum over the row: typical's entropy, sigma.
  double nats = 1e-5;
};
bool TooNear(std::span<const CutDistance> cuts, const NearLimits& limits);

struct StageReference {
  // The tokens that are left, in the order (logit descending, id ascending). Empty: none may be chosen.
  std::vector<TokenId> kept;
  // ln p of every token, -inf for one that is not kept. [vocab_size]
  std::vector<double> log_probs;
  // The logit of every token after the stages that change it, in the unit of the row; -inf for one that is banned.
  std::vector<float> logits;
  std::vector<CutDistance> cuts;
};

// What all stages of `params` leave of `row`. `xtc_acts`: what XTC's draw says.
// Shapes: row [vocab_size], without NaN and +inf. REQUIRES: the parameters are valid.
StageReference ReferenceOfStages(LogitsView row, const SamplingParams& params, const StepContext& context,
                                 bool xtc_acts);

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_STAGE_REFERENCE_H_
