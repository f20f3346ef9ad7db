#include "core/winner_pruner.h"

#include <algorithm>
#include <cmath>

namespace logitd {
namespace {

// Sums of 131,072 log-probs are exact to 1e-13 of their size (core/compensated_sum.h), their quotients to 2^-52.
constexpr double kRounding = 0x1p-40;

}  // namespace

std::optional<double> WinnerPruner::ValueOf(const CandidateScore& counts, double log_prob) const {
  CandidateScore score = counts;
  score.log_prob = log_prob;
  return NormalizedLogProb(score, options_.by, options_.gnmt_alpha);
}

size_t WinnerPruner::Add(const CandidateScore& counts) {
  candidates_.push_back({counts, {}, 0, true});
  return candidates_.size() - 1;
}

void WinnerPruner::AddComplete(const CandidateScore& score) {
  if (const auto value = ValueOf(score, score.log_prob)) best_ = std::max(best_, *value);
}

void WinnerPruner::AddToken(size_t candidate, double log_prob) {
  Candidate& self = candidates_[candidate];
  ++self.tokens;
  if (std::isinf(log_prob)) self.is_possible = false;
  if (!self.is_possible) return;
  self.sum.Add(log_prob);
  if (self.tokens < self.counts.token_count) return;
  const auto value = ValueOf(self.counts, self.sum.value() - options_.tolerance * self.tokens);
  if (value) best_ = std::max(best_, *value);
}

bool WinnerPruner::CanWin(size_t candidate) const {
  const Candidate& self = candidates_[candidate];
  if (!self.is_possible) return false;
  const auto bound = ValueOf(self.counts, std::min(0.0, self.sum.value() + options_.tolerance * self.tokens));
  return !bound || *bound >= best_ - kRounding * std::abs(best_);
}

}  // namespace logitd
