// Runs stages of a LogitsProcessor as Distribution does, for tests.
#ifndef LOGITD_TESTS_TESTING_PROCESS_STAGES_H_
#define LOGITD_TESTS_TESTING_PROCESS_STAGES_H_

#include <span>

#include "core/stages.h"

namespace logitd::testing {

// Those of `stages` that are its own, and kTemperature, in their order, if they are on.
inline void ProcessStages(LogitsProcessor& processor, const LogitsRow& row, std::span<const Stage> stages,
                          const SamplingParams& params, const StepContext& context, double divisor = 1) {
  const StagePlan plan = PlanOf(params);
  KeptTokens kept;
  TruncationSpace space;
  const StageStep step{params, context, plan, processor, kept, space};
  processor.Begin(row, divisor);
  for (Stage stage : stages) {
    const StageKind kind = SpecOf(stage).kind;
    if (kind != StageKind::kEdit && kind != StageKind::kTemperature) continue;
    if (plan.Has(stage)) SpecOf(stage).apply(step);
  }
  processor.Finish();
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_PROCESS_STAGES_H_
