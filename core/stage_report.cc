#include "core/stage_report.h"

#include <cstddef>

#include "base/status_macros.h"
#include "core/stages.h"

namespace logitd {

absl::StatusOr<std::vector<StageReport>> ReportStages(const LogitsRow& row, const SamplingParams& params,
                                                      const StepContext& context, Distribution& distribution) {
  const StagePlan plan = PlanOf(params, context.allowed != nullptr);
  std::vector<StageReport> reports;
  std::vector<uint64_t> weights(row.slots().size());
  RETURN_IF_ERROR(distribution.Assign(row, params, context, {.stage_count = 0}));
  for (size_t i = 0; i < plan.stages().size(); ++i) {
    StageReport& report = reports.emplace_back();
    report.stage = plan.stages()[i];
    report.kept_before = distribution.CountKept();
    const auto total = static_cast<double>(distribution.TotalWeight());
    distribution.Weigh(weights);
    RETURN_IF_ERROR(distribution.Assign(row, params, context, {.stage_count = i + 1}));
    report.kept_after = distribution.CountKept();
    uint64_t removed = 0;
    for (size_t slot = 0; slot < weights.size(); ++slot) {
      if (weights[slot] > 0 && !distribution.KeepsSlot(static_cast<int32_t>(slot))) removed += weights[slot];
    }
    report.removed_mass = static_cast<double>(removed) / total;
  }
  return reports;
}

}  // namespace logitd
