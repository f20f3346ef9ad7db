// A stage chooses item i from the set S that is left, with log-prob s_i - ln(sum over S of exp s_j). Going through the
// order from its end, the logarithm of the sum, L, grows by one item at a time:
//
//   order:    6    3    1      (as strengths)
//   L:       ln10  ln4  ln1    from right to left
//   stage:  6/10   3/4  1/1
//
// With d = L(of the items after i) - s_i the stage's log-prob is -ln(1 + exp d), which neither overflows nor cancels.
#include "core/plackett_luce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "base/status_macros.h"
#include "core/compensated_sum.h"
#include "core/errors.h"
#include "core/exact_math.h"

namespace logitd {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();

// ln(1 + exp(d)), d <= 0. ln(u) x / (u - 1) takes back the rounding of u = 1 + x, so small values keep all digits.
double LogOnePlusExp(double d) {
  const double x = Exp(d);
  const double u = 1 + x;
  return u == 1 ? x : Log(u) * (x / (u - 1));
}

// ln of a sum of exponentials that grows by one term at a time, and the log-prob of each term in it.
class RunningLogSumExp {
 public:
  // Adds a term and returns ln(term / sum) as two parts whose sum is exact to the last digit of each.
  CompensatedSum Add(double log_term) {
    if (log_term == kImpossible) {
      ++impossible_count_;
      // Against a possible term it has no chance; otherwise all terms so far have the same.
      if (has_sum_) return {kImpossible, 0};
      return {-Log(impossible_count_), 0};
    }
    if (!has_sum_) {
      has_sum_ = true;
      log_sum_ = {log_term, 0};
      return {0, 0};
    }
    CompensatedSum difference = log_sum_;
    difference.Add(-log_term);
    const double d = difference.value();
    if (d <= 0) {
      const double rest = LogOnePlusExp(d);
      log_sum_ = {log_term, 0};
      log_sum_.Add(rest);
      return {-rest, 0};
    }
    const double rest = LogOnePlusExp(-d);
    log_sum_.Add(rest);
    CompensatedSum log_prob{-difference.sum, -difference.compensation};
    log_prob.Add(-rest);
    return log_prob;
  }

 private:
  CompensatedSum log_sum_;
  bool has_sum_ = false;
  double impossible_count_ = 0;
};

absl::Status CheckLogStrengths(std::span<const double> log_strengths) {
  if (log_strengths.empty()) return errors::NoCandidates("log_strengths");
  for (size_t i = 0; i < log_strengths.size(); ++i) {
    const double value = log_strengths[i];
    if (value == kImpossible || std::abs(value) <= kMaxLogStrength) continue;
    return errors::OutOfRange(Element("log_strengths", static_cast<int64_t>(i)), value,
                              "-inf, or in [-1e+300, 1e+300]");
  }
  return absl::OkStatus();
}

// The items of [0, item_count) that are in `items`. REQUIRES: all are in range.
std::vector<bool> MembersOf(std::span<const int32_t> items, size_t item_count) {
  std::vector<bool> members(item_count);
  for (const int32_t item : items) members[static_cast<size_t>(item)] = true;
  return members;
}

double LogProbOf(std::span<const double> log_strengths, std::span<const int32_t> top) {
  RunningLogSumExp sum;
  if (top.size() < log_strengths.size()) {
    // In order of their indices, so that the result depends on the set alone.
    const std::vector<bool> is_listed = MembersOf(top, log_strengths.size());
    for (size_t i = 0; i < log_strengths.size(); ++i) {
      if (!is_listed[i]) sum.Add(log_strengths[i]);
    }
  }
  CompensatedSum total;
  for (size_t place = top.size(); place-- > 0;) {
    const CompensatedSum stage = sum.Add(log_strengths[static_cast<size_t>(top[place])]);
    if (stage.sum == kImpossible) return kImpossible;
    total.Add(stage.sum);
    total.Add(stage.compensation);
  }
  // Not -0.
  return total.value() + 0.0;
}

}  // namespace

absl::Status CheckDistinct(std::span<const int32_t> items, int32_t item_count, std::string_view field,
                           std::string_view item) {
  std::vector<bool> is_seen(static_cast<size_t>(item_count));
  for (size_t place = 0; place < items.size(); ++place) {
    const int32_t index = items[place];
    if (index >= 0 && index < item_count && !is_seen[static_cast<size_t>(index)]) {
      is_seen[static_cast<size_t>(index)] = true;
      continue;
    }
    const bool is_outside = index < 0 || index >= item_count;
    const std::string bound = is_outside ? "[0, " + std::to_string(item_count) + ")"
                                         : "another " + std::string(item) + " than those before it";
    return errors::OrderInvalid(Element(field, static_cast<int64_t>(place)), bound, std::to_string(index));
  }
  return absl::OkStatus();
}

absl::Status CheckOrder(std::span<const int32_t> order, int32_t item_count, std::string_view field,
                        std::string_view item) {
  RETURN_IF_ERROR(CheckDistinct(order, item_count, field, item));
  if (order.size() == static_cast<size_t>(item_count)) return absl::OkStatus();
  const std::vector<bool> members = MembersOf(order, static_cast<size_t>(item_count));
  const auto missing = std::find(members.begin(), members.end(), false) - members.begin();
  const std::string name(item);
  return errors::OrderInvalid(
      field, "an order of all " + std::to_string(item_count) + " " + name + (item_count == 1 ? "" : "s"),
      std::to_string(order.size()) + ", without " + name + " " + std::to_string(missing));
}

absl::StatusOr<double> OrderLogProb(std::span<const double> log_strengths, std::span<const int32_t> order) {
  RETURN_IF_ERROR(CheckLogStrengths(log_strengths));
  RETURN_IF_ERROR(CheckOrder(order, static_cast<int32_t>(log_strengths.size()), "order", "item"));
  return LogProbOf(log_strengths, order);
}

absl::StatusOr<double> TopLogProb(std::span<const double> log_strengths, std::span<const int32_t> top) {
  RETURN_IF_ERROR(CheckLogStrengths(log_strengths));
  if (top.empty()) return errors::OrderInvalid("top", "at least one item", "none");
  RETURN_IF_ERROR(CheckDistinct(top, static_cast<int32_t>(log_strengths.size()), "top", "item"));
  return LogProbOf(log_strengths, top);
}

absl::StatusOr<std::vector<int32_t>> OrderOfPlaces(std::span<const int32_t> items, std::span<const int32_t> places,
                                                   Ties ties) {
  if (places.size() != items.size()) {
    return errors::OutOfRange("places", static_cast<int64_t>(places.size()),
                              "as many as there are items (" + std::to_string(items.size()) + ")");
  }
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i] < 1) {
      return errors::OutOfRange(Element("places", static_cast<int64_t>(i)), int64_t{places[i]}, ">= 1");
    }
  }
  std::vector<size_t> by_place(items.size());
  std::iota(by_place.begin(), by_place.end(), size_t{0});
  std::sort(by_place.begin(), by_place.end(),
            [&](size_t a, size_t b) { return places[a] != places[b] ? places[a] < places[b] : items[a] < items[b]; });
  std::vector<int32_t> order;
  order.reserve(items.size());
  for (size_t i = 0; i < by_place.size(); ++i) {
    const size_t at = by_place[i];
    if (ties == Ties::kRefuse && i > 0 && places[at] == places[by_place[i - 1]]) {
      const std::string bound = "another place than that of item " + std::to_string(items[by_place[i - 1]]) +
                                " (ties are refused unless the request says how to break them)";
      return errors::OrderInvalid(Element("places", static_cast<int64_t>(at)), bound, std::to_string(places[at]));
    }
    order.push_back(items[at]);
  }
  return order;
}

}  // namespace logitd
