#include "core/ranker.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/compensated_sum.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/limits.h"

namespace logitd {
namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;

}  // namespace

std::optional<double> NormalizedLogProb(const CandidateScore& candidate, Normalization by,
                                        std::optional<double> gnmt_alpha) {
  switch (by) {
    case Normalization::kSum:
      return candidate.log_prob;
    case Normalization::kPerToken:
      return candidate.log_prob / candidate.token_count;
    case Normalization::kPerByte:
      if (!candidate.byte_count) return std::nullopt;
      return candidate.log_prob / static_cast<double>(*candidate.byte_count);
    case Normalization::kPerCharacter:
      if (!candidate.character_count) return std::nullopt;
      return candidate.log_prob / static_cast<double>(*candidate.character_count);
    case Normalization::kGnmt:
      if (!gnmt_alpha) return std::nullopt;
      return candidate.log_prob / GnmtPenalty(candidate.token_count, *gnmt_alpha);
    case Normalization::kPmi:
      if (!candidate.unconditional_log_prob) return std::nullopt;
      return candidate.log_prob - *candidate.unconditional_log_prob;
    case Normalization::kCombined:
      return candidate.combined_log_prob;
  }
  return std::nullopt;
}

double GnmtPenalty(int32_t token_count, double alpha) {
  return Exp(alpha * Log((5 + static_cast<double>(token_count)) / 6));
}

absl::Status CheckGnmtAlpha(double alpha) {
  if (alpha >= 0 && alpha <= kMaxGnmtAlpha) return absl::OkStatus();
  return errors::OutOfRange("gnmt_alpha", alpha, "in [0, 10]");
}

std::optional<double> BitsPerByte(const CandidateScore& candidate) {
  if (!candidate.byte_count) return std::nullopt;
  return -candidate.log_prob / (static_cast<double>(*candidate.byte_count) * kLn2);
}

double Perplexity(const CandidateScore& candidate) { return Exp(-candidate.log_prob / candidate.token_count); }

Ordering OrderBy(std::span<const std::optional<double>> values) {
  Ordering ordering;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i]) ordering.candidate_indices.push_back(static_cast<int32_t>(i));
  }
  std::stable_sort(ordering.candidate_indices.begin(), ordering.candidate_indices.end(),
                   [values](int32_t a, int32_t b) { return *values[a] > *values[b]; });
  for (size_t i = 0; i < ordering.candidate_indices.size(); ++i) {
    const bool ties = i > 0 && *values[ordering.candidate_indices[i]] == *values[ordering.candidate_indices[i - 1]];
    ordering.places.push_back(ties ? ordering.places.back() : static_cast<int32_t>(i) + 1);
  }
  ordering.tied = ordering.places.size() > 1 && ordering.places[1] == 1;
  return ordering;
}

std::vector<std::optional<double>> CandidateProbabilities(std::span<const std::optional<double>> values, double beta) {
  double max = -std::numeric_limits<double>::infinity();
  for (const auto& value : values) max = std::max(max, value.value_or(max));
  std::vector<std::optional<double>> probabilities(values.size());
  CompensatedSum total;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values[i]) continue;
    probabilities[i] = Exp(beta * (*values[i] - max));
    total.Add(*probabilities[i]);
  }
  for (auto& value : probabilities) {
    if (value) *value /= total.value();
  }
  return probabilities;
}

double LogSumExp(std::span<const double> values) {
  const double max =
      values.empty() ? -std::numeric_limits<double>::infinity() : *std::max_element(values.begin(), values.end());
  if (std::isinf(max)) return max;
  CompensatedSum total;
  for (const double value : values) total.Add(Exp(value - max));
  return max + Log(total.value());
}

}  // namespace logitd
