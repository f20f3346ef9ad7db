// What each stage took out, for those who ask.
//
//   StageReporter reporter;
//   reporter.Begin(kept);              // before the first stage
//   ...                                // a stage narrows `kept`
//   reporter.After(stage, kept);
//
// Thread-compatible. Several plain passes over the row for each stage: nobody is in a hurry who asks for this.
#ifndef LOGITD_CORE_STAGE_REPORT_H_
#define LOGITD_CORE_STAGE_REPORT_H_

#include <cstdint>
#include <vector>

#include "core/kept_tokens.h"
#include "core/stage_order.h"

namespace logitd {

// What one stage did.
struct StageReport {
  Stage stage = Stage::kTemperature;
  // Tokens that may be chosen before and after it.
  int32_t kept_before = 0;
  int32_t kept_after = 0;
  // Probability, over what there was before it and at the temperature in force, of the tokens that it took out, [0, 1].
  double removed_mass = 0;
};

class StageReporter {
 public:
  void Begin(KeptTokens& kept);
  void After(Stage stage, KeptTokens& kept);
  // No token is left after `stage`.
  void AfterAll(Stage stage);

  const std::vector<StageReport>& reports() const { return reports_; }

 private:
  std::vector<StageReport> reports_;
  // Before the next stage.
  int32_t count_ = 0;
  uint64_t total_weight_ = 0;
  std::vector<uint64_t> weights_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_STAGE_REPORT_H_
