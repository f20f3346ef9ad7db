#include "server/handlers/item_orders.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/errors.h"
#include "core/plackett_luce.h"

namespace logitd::server {

absl::StatusOr<std::optional<int32_t>> TopCountOf(const v1::RankRequest& request) {
  if (!request.order().has_top_k()) return std::optional<int32_t>();
  const int32_t top_k = request.order().top_k();
  if (top_k < 1) return errors::OutOfRange("order.top_k", int64_t{top_k}, ">= 1");
  return std::optional(top_k);
}

absl::Status CheckGivenOrder(const v1::RankItem& item, const std::string& field) {
  if (item.given_order().empty()) return absl::OkStatus();
  return CheckOrder(ViewOf(item.given_order()), item.candidates_size(), field + ".given_order", "candidate");
}

std::optional<v1::OrderProbability> ProbabilityOf(std::span<const int32_t> order,
                                                  std::span<const std::optional<double>> log_strengths,
                                                  std::optional<int32_t> top_count) {
  v1::OrderProbability probability;
  // Those that are possible, and their places among themselves: core knows no gaps.
  std::vector<double> strengths;
  std::vector<int32_t> places;
  // The number of candidates before the first one that is not possible.
  std::optional<size_t> possible_run;
  for (const int32_t candidate : order) {
    const std::optional<double> strength = log_strengths[static_cast<size_t>(candidate)];
    if (!strength) continue;
    probability.add_candidate_indices(candidate);
    if (std::isinf(*strength)) {
      if (!possible_run) possible_run = places.size();
      continue;
    }
    places.push_back(static_cast<int32_t>(places.size()));
    strengths.push_back(*strength);
  }
  if (places.empty()) return std::nullopt;
  const size_t run = possible_run.value_or(places.size());
  if (run == places.size()) {
    if (const auto log_prob = OrderLogProb(strengths, places); log_prob.ok()) probability.set_log_prob(*log_prob);
  }
  if (!top_count) return probability;
  const size_t count = std::min(static_cast<size_t>(*top_count), places.size());
  probability.set_top_count(static_cast<int32_t>(count));
  if (count > run) return probability;
  if (const auto log_prob = TopLogProb(strengths, std::span(places).first(count)); log_prob.ok()) {
    probability.set_top_log_prob(*log_prob);
  }
  return probability;
}

}  // namespace logitd::server
