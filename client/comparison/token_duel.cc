#include "client/comparison/token_duel.h"

#include <algorithm>
#include <limits>

#include "core/compensated_sum.h"

namespace logitd::comparison {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The sum of log-probs up to a position.
class RunningSum {
 public:
  void Add(double log_prob) {
    is_impossible_ = is_impossible_ || log_prob == -kInfinity;
    if (!is_impossible_) sum_.Add(log_prob);
  }
  double value() const { return is_impossible_ ? -kInfinity : sum_.value(); }

 private:
  CompensatedSum sum_;
  bool is_impossible_ = false;
};

std::optional<double> DifferenceOf(double first, double second) {
  if (first == -kInfinity && second == -kInfinity) return std::nullopt;
  return first - second;
}

// The largest gains of the winner that together are at least its margin.
std::vector<int32_t> DecidingPositions(const Duel& duel) {
  if (duel.total_winner == Side::kNone) return {};
  const double sign = duel.total_winner == Side::kFirst ? 1 : -1;
  std::vector<int32_t> gains;
  for (int32_t i = 0; i < static_cast<int32_t>(duel.positions.size()); ++i) {
    const std::optional<double>& difference = duel.positions[i].difference;
    if (difference && sign * *difference > 0) gains.push_back(i);
  }
  const auto gain_at = [&](int32_t i) { return sign * *duel.positions[i].difference; };
  std::stable_sort(gains.begin(), gains.end(), [&](int32_t a, int32_t b) { return gain_at(a) > gain_at(b); });
  if (*duel.total_margin == kInfinity) {
    // Only without every impossible token could the loser win.
    gains.erase(std::find_if(gains.begin(), gains.end(), [&](int32_t i) { return gain_at(i) < kInfinity; }),
                gains.end());
    return gains;
  }
  CompensatedSum sum;
  size_t count = 0;
  while (count < gains.size() && sum.value() < *duel.total_margin) sum.Add(gain_at(gains[count++]));
  gains.resize(count);
  return gains;
}

// Where the loser leads for the last time, and by how much.
void FindLead(Duel& duel, int32_t first_position) {
  if (duel.total_winner == Side::kNone) return;
  const double sign = duel.total_winner == Side::kFirst ? -1 : 1;
  for (int32_t i = first_position; i < static_cast<int32_t>(duel.positions.size()); ++i) {
    const std::optional<double>& lead = duel.positions[i].sum_difference;
    if (!lead || sign * *lead <= 0) continue;
    duel.lead_lost_at = i + 1;
    duel.lead_before_loss = sign * *lead;
  }
}

}  // namespace

Duel DuelOf(const LogProbs& first, const LogProbs& second, int32_t first_position) {
  Duel duel;
  RunningSum first_sum, second_sum;
  const size_t length = std::max(first.size(), second.size());
  for (size_t i = 0; i < length; ++i) {
    DuelPosition position;
    if (i < first.size()) position.first = first[i];
    if (i < second.size()) position.second = second[i];
    first_sum.Add(position.first.value_or(0));
    second_sum.Add(position.second.value_or(0));
    position.difference = DifferenceOf(position.first.value_or(0), position.second.value_or(0));
    position.first_sum = first_sum.value();
    position.second_sum = second_sum.value();
    position.sum_difference = DifferenceOf(position.first_sum, position.second_sum);
    if (position.first && position.second && i >= static_cast<size_t>(first_position)) {
      duel.first_wins += *position.first > *position.second ? 1 : 0;
      duel.second_wins += *position.second > *position.first ? 1 : 0;
      duel.ties += *position.first == *position.second ? 1 : 0;
    }
    duel.positions.push_back(position);
  }
  const auto winner_of = [](double a, double b) { return a > b ? Side::kFirst : b > a ? Side::kSecond : Side::kNone; };
  duel.token_winner = winner_of(duel.first_wins, duel.second_wins);
  duel.total_winner = winner_of(first_sum.value(), second_sum.value());
  if (const std::optional<double> margin = DifferenceOf(first_sum.value(), second_sum.value())) {
    duel.total_margin = *margin < 0 ? -*margin : *margin;
  }
  FindLead(duel, first_position);
  duel.deciding_positions = DecidingPositions(duel);
  return duel;
}

int32_t SharedLength(std::span<const int32_t> first, std::span<const int32_t> second) {
  const size_t length = std::min(first.size(), second.size());
  size_t shared = 0;
  while (shared < length && first[shared] == second[shared]) ++shared;
  return static_cast<int32_t>(shared);
}

}  // namespace logitd::comparison
