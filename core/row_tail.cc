#include "core/row_tail.h"

#include <cmath>
#include <limits>
#include <string>

#include "core/errors.h"
#include "core/exact_math.h"
#include "core/stages.h"

namespace logitd {
namespace {

using uint128 = unsigned __int128;

// The error that sums in f32 may have, nats.
constexpr double kSumTolerance = 1e-3;

absl::Status NeedsEveryToken(std::string_view what) {
  return errors::OutOfRange("row", "SPARSE_REST_TAIL",
                            std::string("a row that has every token's logit, because ").append(what));
}

}  // namespace

absl::Status CheckTailIsEnough(const SamplingParams& params, const StepContext& context, const RecordOptions& record) {
  if (context.allowed != nullptr) return NeedsEveryToken("stage TOKEN_SETS is on");
  if (!context.excluded.empty()) return NeedsEveryToken("stage MIN_TOKENS is on");
  for (int number = 1; number <= static_cast<int>(kMaxStages); ++number) {
    const auto stage = static_cast<Stage>(number);
    if (stage != Stage::kTemperature && IsOn(params, stage)) {
      return NeedsEveryToken(std::string("stage ").append(StageName(stage)).append(" is on"));
    }
  }
  if (!record.records) return absl::OkStatus();
  if (record.rank) return NeedsEveryToken("rank is asked for");
  if (record.entropy) return NeedsEveryToken("entropy is asked for");
  if (record.kept_set) return NeedsEveryToken("kept_set is asked for");
  if (record.top_n > 0) return NeedsEveryToken("top_n is asked for");
  if (!record.named_token_ids.empty()) return NeedsEveryToken("named_token_ids are asked for");
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> WeightOfRest(double log_sum_exp, double largest, int32_t unlisted_count,
                                      std::string_view field) {
  if (log_sum_exp == -std::numeric_limits<double>::infinity()) return 0;
  if (unlisted_count == 0) return errors::OutOfRange(field, log_sum_exp, "-inf: every token is listed");
  const double most = largest + Log(unlisted_count);
  if (!(log_sum_exp <= most + kSumTolerance)) {
    return errors::OutOfRange(field, log_sum_exp,
                              "at most " + errors::Show(most) + ", what " + std::to_string(unlisted_count) +
                                  " unlisted tokens come to that are no larger than the largest listed one");
  }
  return static_cast<uint64_t>(std::nearbyint(0x1p42 * Exp(log_sum_exp - largest)));
}

Draw DrawListedOrRest(Distribution& listed, uint64_t rest_weight, uint64_t uniform) {
  const uint64_t listed_weight = listed.TotalWeight();
  const uint64_t total_weight = listed_weight + rest_weight;
  const auto r = static_cast<uint64_t>((uint128{uniform} * total_weight) >> 64);
  if (r >= listed_weight) return {kRestToken, uniform, total_weight, listed_weight, rest_weight};
  // The least bits whose place among the listed weights alone is r.
  const auto of_listed = static_cast<uint64_t>(((uint128{r} << 64) + listed_weight - 1) / listed_weight);
  Draw draw = listed.DrawToken(of_listed);
  draw.uniform = uniform;
  draw.total_weight = total_weight;
  return draw;
}

}  // namespace logitd
