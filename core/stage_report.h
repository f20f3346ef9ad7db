// Reports the number and the probability of the tokens that each stage of a step removes.
//
//   ASSIGN_OR_RETURN(std::vector<StageReport> reports, ReportStages(row, params, context, distribution));
//
// It assigns the first k stages of the plan for k = 1, 2, ... and compares, so it costs one step for each stage. Use it
// for explanations, not for decoding. Thread-safe: a free function.
#ifndef LOGITD_CORE_STAGE_REPORT_H_
#define LOGITD_CORE_STAGE_REPORT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/distribution.h"
#include "core/logits_processor.h"
#include "core/logits_row.h"
#include "core/sampling_params.h"

namespace logitd {

// The effect of one stage.
struct StageReport {
  Stage stage = Stage::kTemperature;
  // Tokens that may be chosen before and after it.
  int32_t kept_before = 0;
  int32_t kept_after = 0;
  // Probability of the removed tokens, over the tokens before the stage and at the temperature in force, [0, 1].
  double removed_mass = 0;
};

// A report for each stage of the plan, in order. `distribution` is working space, and holds no distribution afterwards.
// Errors: those of Distribution::Assign.
absl::StatusOr<std::vector<StageReport>> ReportStages(const LogitsRow& row, const SamplingParams& params,
                                                      const StepContext& context, Distribution& distribution);

}  // namespace logitd

#endif  // LOGITD_CORE_STAGE_REPORT_H_
