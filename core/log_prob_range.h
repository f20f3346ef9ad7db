// Checks sums of log-probs that a caller hands in, because they come back as results.
//
//   RETURN_IF_ERROR(CheckSum(sums.model, count, kLeastModelLogProb, "model"));
//
// A row is f32, so two finite logits differ by less than 2^129. A log-prob also contains the logarithm of the row's sum
// of weights, which is below 14 and vanishes beside the 2^105 that 2^129 has to spare. Thread-safe: free functions
// without state.
#ifndef LOGITD_CORE_LOG_PROB_RANGE_H_
#define LOGITD_CORE_LOG_PROB_RANGE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/compensated_sum.h"
#include "core/limits.h"

namespace logitd {

// The least log-prob of finite logits at temperature 1, nats.
inline constexpr double kLeastModelLogProb = -0x1p129;
// The least log-prob at any temperature, nats.
inline constexpr double kLeastSamplingLogProb = kLeastModelLogProb / kMinTemperature;

// "in [-6.8e+38, 0]": the range of a sum of `token_count` log-probs, each at least `least`.
std::string SumRange(int64_t token_count, double least);
// Whether the sum is in that range. -0 is; nan is not.
bool IsSum(double sum, int64_t token_count, double least);

// Whether `sum` can be the sum of `token_count` log-probs, added from the first on. Without tokens it is 0. Its
// compensation holds the rounding errors of the additions. Each is at most 2^-53 of the sum at that time, whose
// magnitude only grows; together, with their own rounding, they are within token_count * 2^-52 of the last sum. Errors:
// FIELD_OUT_OF_RANGE, of NAME_sum or NAME_compensation.
absl::Status CheckSum(const CompensatedSum& sum, int64_t token_count, double least, std::string_view name);

}  // namespace logitd

#endif  // LOGITD_CORE_LOG_PROB_RANGE_H_
