// The stages that change logits again, token by token and without cleverness; see tests/testing/stage_reference.h.
#ifndef LOGITD_TESTS_TESTING_LOGITS_REFERENCE_H_
#define LOGITD_TESTS_TESTING_LOGITS_REFERENCE_H_

#include <cstdint>
#include <map>
#include <vector>

#include "core/logits_processor.h"
#include "core/sampling_params.h"
#include "core/stages.h"
#include "core/types.h"

namespace logitd::testing {

// Applies one stage, kMinTokens to kNoRepeatNgram, to `logits`; a banned token's becomes -inf, and -inf stays.
void ApplyLogitsStage(Stage stage, const SamplingParams& params, const StepContext& context,
                      std::vector<double>& logits);

// The length of the longest repetition that each token would go on with, by DRY's rules: every place is tried.
std::map<TokenId, int32_t> DryMatches(const std::vector<TokenId>& tokens, const DryPenalty& dry);

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_LOGITS_REFERENCE_H_
