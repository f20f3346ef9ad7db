// A sparse row that says of its unlisted tokens only what they weigh together: its rest.
//
//   ids      2      5     rest            the first draw: one of the listed tokens, in the order of ids, or the rest
//   weights  W_2    W_5    R
//   ids      0  1  3  4  6  7             the second one, if it is the rest: the unlisted tokens of the dense row
//
// A token has the probability W_i / Z, or R / Z W_j / Z', whatever its id: a draw from the whole dense row that is
// known to have missed the listed tokens would not. Source: docs/numerics.md, section 4. Thread-safe: values and free
// functions.
#ifndef LOGITD_CORE_ROW_TAIL_H_
#define LOGITD_CORE_ROW_TAIL_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/distribution.h"
#include "core/logits_processor.h"
#include "core/sampling_params.h"
#include "core/token_record.h"
#include "core/types.h"

namespace logitd {

// Of one row. -inf: the rest weighs nothing.
struct RowTail {
  // ln of the sum of exp(x) over the unlisted tokens, nats.
  double log_sum_exp = 0;
  // The same of x / T, T the temperature. Unset: not known; at T = 1 it is not looked at.
  std::optional<double> scaled_log_sum_exp;
};

// The id of the rest in a Draw.
inline constexpr TokenId kRestToken = -1;

// Stages look at tokens one by one, and so do most numbers of a record: with a tail only the temperature is exact, and
// of numbers the log-probs and the draw. Errors: FIELD_OUT_OF_RANGE of "row", naming the first stage or number that is
// asked for besides.
absl::Status CheckTailIsEnough(const SamplingParams& params, const StepContext& context, const RecordOptions& record);

// R = rne(2^42 exp(log_sum_exp - largest)), `largest` the largest listed logit, divided by T as the sum's are.
// Errors: FIELD_OUT_OF_RANGE of `field` if so many unlisted tokens, none before the largest listed one, cannot weigh so
// much (with a thousandth to spare, for sums that were added up in f32).
absl::StatusOr<uint64_t> WeightOfRest(double log_sum_exp, double largest, int32_t unlisted_count,
                                      std::string_view field);

// The listed token, or kRestToken, whose interval holds r = floor(uniform Z / 2^64), Z the weights of `listed` and
// rest_weight. The rest's interval is the last one. REQUIRES: not at temperature 0; rest_weight < 2^63.
Draw DrawListedOrRest(Distribution& listed, uint64_t rest_weight, uint64_t uniform);

}  // namespace logitd

#endif  // LOGITD_CORE_ROW_TAIL_H_
