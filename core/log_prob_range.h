// Which sums of log-probs there can be: for sums that a caller hands in and that come back as results.
//
//   RETURN_IF_ERROR(CheckSum(sums.model, count, kLeastModelLogProb, "model"));
//
// A row is f32, so two finite logits differ by less than 2^129, and the logarithm of a row's sum of weights, which a
// log-prob has in it too, is below 14: it vanishes beside 2^105, which is what 2^129 has to spare.
// Thread-safe: free functions without state.
#ifndef LOGITD_CORE_LOG_PROB_RANGE_H_
#define LOGITD_CORE_LOG_PROB_RANGE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/compensated_sum.h"
#include "core/limits.h"

namespace logitd {

// No log-prob of finite logits at temperature 1 is less. Nats.
inline constexpr double kLeastModelLogProb = -0x1p129;
// Nor at any temperature.
inline constexpr double kLeastSamplingLogProb = kLeastModelLogProb / kMinTemperature;

// "in [-6.8e+38, 0]": the range of a sum of `token_count` log-probs, each at least `least`.
std::string SumRange(int64_t token_count, double least);
// Whether it lies there. -0 does; nan does not.
bool IsSum(double sum, int64_t token_count, double least);

// Whether `sum` can be that of `token_count` log-probs that were added from the first on, as a reply said it. Its
// compensation holds the rounding errors of the additions: each is at most 2^-53 of the sum then, whose magnitude only
// grows, so that together, and rounded themselves, they are within token_count * 2^-52 of the last one. No tokens: 0.
// Errors: FIELD_OUT_OF_RANGE, of NAME_sum or NAME_compensation.
absl::Status CheckSum(const CompensatedSum& sum, int64_t token_count, double least, std::string_view name);

}  // namespace logitd

#endif  // LOGITD_CORE_LOG_PROB_RANGE_H_
