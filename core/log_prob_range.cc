#include "core/log_prob_range.h"

#include <cmath>

#include "core/errors.h"

namespace logitd {

std::string SumRange(int64_t token_count, double least) {
  if (token_count == 0) return "0, the sum of no tokens";
  return "[" + errors::Show(least * static_cast<double>(token_count)) + ", 0]";
}

bool IsSum(double sum, int64_t token_count, double least) {
  return sum <= 0 && sum >= least * static_cast<double>(token_count);
}

absl::Status CheckSum(const CompensatedSum& sum, int64_t token_count, double least, std::string_view name) {
  const auto field = [name](const char* part) { return std::string(name).append(part); };
  if (!IsSum(sum.sum, token_count, least)) {
    return errors::OutOfRange(field("_sum"), sum.sum, SumRange(token_count, least));
  }
  const double most = std::abs(sum.sum) * static_cast<double>(token_count) * 0x1p-52;
  if (std::abs(sum.compensation) <= most) return absl::OkStatus();
  const std::string bound = "[" + errors::Show(most == 0 ? 0 : -most) + ", " + errors::Show(most) + "]";
  return errors::OutOfRange(field("_compensation"), sum.compensation, bound);
}

}  // namespace logitd
