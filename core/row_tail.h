// A sparse row that gives only the sum of its unlisted tokens: its rest.
//
//   ids      2      5     rest            the first draw: one of the listed tokens, in the order of ids, or the rest
//   weights  W_2    W_5    R
//   ids      0  1  3  4  6  7             the second draw, if that is the rest: the unlisted tokens of the dense row
//
// A token has the probability W_i / Z, or R / Z W_j / Z', whatever its id. A single draw from the dense row, known to
// have missed the listed tokens, would not have these probabilities. Source: docs/numerics.md, section 4. Thread-safe:
// values and free functions.
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

// The rest of one row. -inf: it weighs nothing.
struct RowTail {
  // ln of the sum of exp(x) over the unlisted tokens, nats.
  double log_sum_exp = 0;
  // The same of x / T, where T is the temperature. Unset: not known. Unused at T = 1.
  std::optional<double> scaled_log_sum_exp;
};

// The id of the rest in a Draw.
inline constexpr TokenId kRestToken = -1;

// Whether a row with a tail suffices for these parameters. Stages look at tokens one by one, and so do most numbers of
// a record; with a tail only the temperature, the log-probs and the draw are exact. Errors: FIELD_OUT_OF_RANGE of
// "row", naming the first other stage or number that is asked for.
absl::Status CheckTailIsEnough(const SamplingParams& params, const StepContext& context, const RecordOptions& record);

// R = rne(2^42 exp(log_sum_exp - largest)), where `largest` is the largest listed logit, divided by T like those of the
// sum. Errors: FIELD_OUT_OF_RANGE of `field` if that many unlisted tokens, none before the largest listed one, cannot
// weigh that much (with a thousandth to spare, for sums that were added up in f32).
absl::StatusOr<uint64_t> WeightOfRest(double log_sum_exp, double largest, int32_t unlisted_count,
                                      std::string_view field);

// The listed token, or kRestToken, whose interval holds r = floor(uniform Z / 2^64), where Z is the sum of the weights
// of `listed` and rest_weight. The rest's interval is the last one. REQUIRES: not at temperature 0; rest_weight < 2^63.
Draw DrawListedOrRest(Distribution& listed, uint64_t rest_weight, uint64_t uniform);

}  // namespace logitd

#endif  // LOGITD_CORE_ROW_TAIL_H_
