#include "core/decision.h"

#include "core/compensated_sum.h"
#include "core/exact_math.h"
#include "core/ranker.h"

namespace logitd {

std::optional<Decision> Decide(std::span<const std::optional<double>> log_probs, std::span<const double> offsets,
                               double temperature) {
  std::vector<std::optional<double>> values(log_probs.begin(), log_probs.end());
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i]) *values[i] += offsets[i];
  }
  const Ordering ordering = OrderBy(values);
  if (ordering.candidate_indices.empty()) return std::nullopt;
  Decision decision;
  decision.chosen = ordering.candidate_indices.front();
  decision.tied = ordering.tied;
  decision.probabilities.resize(values.size());
  if (temperature == 0) {
    decision.probabilities[static_cast<size_t>(decision.chosen)] = 1;
    return decision;
  }
  const double max = *values[static_cast<size_t>(decision.chosen)];
  CompensatedSum total;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values[i]) continue;
    decision.probabilities[i] = Exp((*values[i] - max) / temperature);
    total.Add(decision.probabilities[i]);
  }
  for (double& probability : decision.probabilities) probability /= total.value();
  return decision;
}

}  // namespace logitd
