// The gradient of the cross-entropy of a row and its target: p - y over the temperature.
//
//   loss = -ln p(target), p = softmax(x / T) over the kept tokens;   d loss / d x_i = (p_i - [i = target]) / T
//
// A token that is not kept has p = 0, and its logit does not change the loss: its entry is 0.
//
// Four-token example: the row 6, 3, 0.5, 0.5 with target 1 at T = 1 gives 0.945, -0.953, 0.004, 0.004; without token 0
// it is 0, -0.141, 0.070, 0.070.
//
// Source: docs/numerics.md, section 10. Thread-safe: a free function without state.
#ifndef LOGITD_CORE_CROSS_ENTROPY_H_
#define LOGITD_CORE_CROSS_ENTROPY_H_

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "core/logits_row.h"
#include "core/sampling_params.h"
#include "core/types.h"

namespace logitd {

// Writes the gradient to `gradient`, [vocab_size] f32. keeps(slot): whether the token of this slot of `row` is kept;
// a logit of -inf never is. Range: temperature in [1e-4, 1e6].
// Errors: FIELD_OUT_OF_RANGE (field "token_ids") if the target is not kept: its loss is infinite.
// Error: each entry is within 2^-23 / T of the exact one. The entries sum to 0 up to 2^-24 of the target's, added in
// double. REQUIRES: the row has no NaN and no +inf; target in [0, vocab_size).
absl::Status CrossEntropyGradient(const LogitsRow& row, absl::FunctionRef<bool(int32_t)> keeps, double temperature,
                                  TokenId target, std::span<float> gradient);

// Whether the stages leave the logits as they are and keep tokens by their ids alone, so that the formula above is
// their gradient: the temperature and token sets. Errors: FIELDS_EXCLUSIVE of "gradient" with the first other stage
// that is on.
absl::Status CheckGradientStages(const SamplingParams& params);

}  // namespace logitd

#endif  // LOGITD_CORE_CROSS_ENTROPY_H_
