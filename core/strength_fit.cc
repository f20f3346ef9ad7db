// The log-likelihood sums, over the stages of all rankings, s_i - ln(sum of exp s_j over the set that is left), where i
// is the item chosen there. Its maximum satisfies, for each item,
//
//   exp s_i = (stages that i won) / (sum over the stages where i was in the set, of 1 / sum of exp s_j)
//
// An MM step puts the strengths into the right side and takes the left side as the new ones. It never lowers the
// likelihood, but slows down near the maximum, most where few comparisons hold the items together. From there Newton's
// steps finish: they use the information matrix, which the standard errors need anyway. A Newton step that does not
// raise the likelihood is halved, and at last not taken; more MM steps follow instead.
//
// Example: 0 beats 1 three times of four. The right sides are 3 / (4 / (g0 + g1)) and 1 / (4 / (g0 + g1)): one MM step
// gives the strengths 3 : 1, and the next one the same.
#include "core/strength_fit.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/status_macros.h"
#include "core/comparison_graph.h"
#include "core/compensated_sum.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/plackett_luce.h"
#include "core/symmetric_matrix.h"

namespace logitd {
namespace {

// MM steps before the first Newton step, and after each one that is not taken.
constexpr int kMmSteps = 20;
// Newton steps, taken or not. The likelihood is concave; a fit that needs more is not one that doubles can find.
constexpr int kMaxNewtonSteps = 100;
// Newton steps below this, nats, are taken without looking at the likelihood, whose own rounding they may not exceed:
// the information changes by less than a factor of exp(4e-6) on their way.
constexpr double kSmallStep = 1e-6;
// The shortest part of a Newton step that is tried.
constexpr double kLeastStepLength = 1.0 / 16;
// What the rankings must do beyond comparing all items.
constexpr char kDetermined[] = "determine log-strengths in [-300, 300] within double precision";
constexpr int64_t kMaxCount = 1'000'000'000;

// A ranking as the loops need it.
struct Stages {
  // Into the list of places.
  size_t first = 0;
  size_t place_count = 0;
  // The stages at which something was chosen from at least two items: places [0, stage_count).
  size_t stage_count = 0;
  double weight = 0;
};

// The items that a ranking does not list, ascending.
std::vector<int32_t> OthersOf(const Ranking& ranking, int32_t item_count) {
  std::vector<bool> is_listed(static_cast<size_t>(item_count));
  for (const int32_t item : ranking.item_indices) is_listed[static_cast<size_t>(item)] = true;
  std::vector<int32_t> others;
  for (int32_t item = 0; item < item_count; ++item) {
    if (!is_listed[static_cast<size_t>(item)]) others.push_back(item);
  }
  return others;
}

double MeanOf(std::span<const double> values) {
  CompensatedSum sum;
  for (const double value : values) sum.Add(value);
  return sum.value() / static_cast<double>(values.size());
}

double LargestOf(std::span<const double> values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

class Fit {
 public:
  Fit(int32_t item_count, std::span<const Ranking> rankings, absl::FunctionRef<absl::Status()> check);

  absl::StatusOr<StrengthFit> Run();

 private:
  size_t item_count() const { return win_counts_.size(); }
  double StrengthAt(const Stages& ranking, size_t place) const {
    return strengths_[static_cast<size_t>(places_[ranking.first + place])];
  }
  // Writes the sum of the strengths that are left at each stage into sums_.
  void SumStages(const Stages& ranking);
  // Centres `log_strengths` and takes them. STRENGTHS_UNDEFINED if one is too far from the others.
  absl::Status Take(std::vector<double> log_strengths);
  // The sums over stages by which each item's wins are divided; also the log-likelihood.
  std::vector<double> Denominators();
  absl::Status StepMm();
  // The information matrix, with `ridge` in the direction in which all strengths grow alike, so that it has an inverse.
  absl::StatusOr<SymmetricMatrix> Information(double& ridge);
  double LogLikelihoodOf(const std::vector<double>& log_strengths);

  const absl::FunctionRef<absl::Status()> check_;
  // The items of all rankings, place by place; after the listed ones the others, if they are below.
  std::vector<int32_t> places_;
  std::vector<Stages> rankings_;
  std::vector<double> win_counts_;
  std::vector<double> log_strengths_;
  std::vector<double> strengths_;
  double log_likelihood_ = 0;
  std::vector<double> sums_;
};

Fit::Fit(int32_t item_count, std::span<const Ranking> rankings, absl::FunctionRef<absl::Status()> check)
    : check_(check),
      win_counts_(static_cast<size_t>(item_count)),
      log_strengths_(win_counts_.size(), 0),
      strengths_(win_counts_.size(), 1),
      sums_(win_counts_.size()) {
  for (const Ranking& ranking : rankings) {
    Stages& stages = rankings_.emplace_back();
    stages.first = places_.size();
    stages.weight = static_cast<double>(ranking.count);
    places_.insert(places_.end(), ranking.item_indices.begin(), ranking.item_indices.end());
    if (ranking.others_below) {
      const std::vector<int32_t> others = OthersOf(ranking, item_count);
      places_.insert(places_.end(), others.begin(), others.end());
    }
    stages.place_count = places_.size() - stages.first;
    stages.stage_count = std::min(ranking.item_indices.size(), stages.place_count - 1);
    for (size_t place = 0; place < stages.stage_count; ++place) {
      win_counts_[static_cast<size_t>(ranking.item_indices[place])] += stages.weight;
    }
  }
}

void Fit::SumStages(const Stages& ranking) {
  CompensatedSum sum;
  for (size_t place = ranking.place_count; place-- > 0;) {
    sum.Add(StrengthAt(ranking, place));
    if (place < ranking.stage_count) sums_[place] = sum.value();
  }
}

absl::Status Fit::Take(std::vector<double> log_strengths) {
  const double mean = MeanOf(log_strengths);
  for (size_t i = 0; i < log_strengths.size(); ++i) {
    log_strengths[i] -= mean;
    if (!(std::abs(log_strengths[i]) <= kMaxFittedLogStrength)) {
      return errors::StrengthsUndefined(kDetermined,
                                        "that of item " + std::to_string(i) + " is " + errors::Show(log_strengths[i]),
                                        std::to_string(i));
    }
    strengths_[i] = Exp(log_strengths[i]);
  }
  log_strengths_ = std::move(log_strengths);
  return absl::OkStatus();
}

std::vector<double> Fit::Denominators() {
  std::vector<CompensatedSum> totals(item_count());
  CompensatedSum log_likelihood;
  for (const Stages& ranking : rankings_) {
    SumStages(ranking);
    CompensatedSum inverse;
    for (size_t place = 0; place < ranking.place_count; ++place) {
      const auto item = static_cast<size_t>(places_[ranking.first + place]);
      if (place < ranking.stage_count) {
        inverse.Add(ranking.weight / sums_[place]);
        log_likelihood.Add(ranking.weight * (log_strengths_[item] - Log(sums_[place])));
      }
      totals[item].Add(inverse.value());
    }
  }
  log_likelihood_ = log_likelihood.value();
  std::vector<double> denominators;
  for (const CompensatedSum& total : totals) denominators.push_back(total.value());
  return denominators;
}

absl::Status Fit::StepMm() {
  const std::vector<double> denominators = Denominators();
  std::vector<double> log_strengths;
  for (size_t i = 0; i < item_count(); ++i) log_strengths.push_back(Log(win_counts_[i] / denominators[i]));
  return Take(std::move(log_strengths));
}

absl::StatusOr<SymmetricMatrix> Fit::Information(double& ridge) {
  SymmetricMatrix information(item_count());
  for (const Stages& ranking : rankings_) {
    RETURN_IF_ERROR(check_());
    SumStages(ranking);
    // The stages at which items i and j were both left are those up to the better one's.
    double inverse_squares = 0;
    for (size_t place = 0; place + 1 < ranking.place_count; ++place) {
      if (place < ranking.stage_count) inverse_squares += ranking.weight / (sums_[place] * sums_[place]);
      const auto i = static_cast<size_t>(places_[ranking.first + place]);
      const double factor = strengths_[i] * inverse_squares;
      for (size_t later = place + 1; later < ranking.place_count; ++later) {
        const auto j = static_cast<size_t>(places_[ranking.first + later]);
        information.at(i, j) -= factor * strengths_[j];
      }
    }
  }
  // Each row sums to 0. A diagonal that is added up so has no cancellation.
  CompensatedSum trace;
  for (size_t i = 0; i < item_count(); ++i) {
    CompensatedSum row;
    for (size_t j = 0; j < item_count(); ++j) {
      if (j != i) row.Add(-information.at(i, j));
    }
    information.at(i, i) = row.value();
    trace.Add(row.value());
  }
  const auto n = static_cast<double>(item_count());
  ridge = trace.value() / n;
  for (size_t i = 0; i < item_count(); ++i) {
    for (size_t j = 0; j <= i; ++j) information.at(i, j) += ridge / n;
  }
  return information;
}

double Fit::LogLikelihoodOf(const std::vector<double>& log_strengths) {
  const std::vector<double> before = log_strengths_;
  if (!Take(log_strengths).ok()) return -INFINITY;
  Denominators();
  const double log_likelihood = log_likelihood_;
  if (!Take(before).ok()) return -INFINITY;
  return log_likelihood;
}

absl::StatusOr<StrengthFit> Fit::Run() {
  StrengthFit fit;
  Denominators();
  fit.equal_log_likelihood = log_likelihood_;
  bool wants_mm = true;
  while (fit.newton_step_count < kMaxNewtonSteps) {
    for (int step = 0; wants_mm && step < kMmSteps; ++step) {
      RETURN_IF_ERROR(check_());
      RETURN_IF_ERROR(StepMm());
      ++fit.mm_step_count;
    }
    const std::vector<double> denominators = Denominators();
    const double log_likelihood = log_likelihood_;
    std::vector<double> step;
    for (size_t i = 0; i < item_count(); ++i) step.push_back(win_counts_[i] - strengths_[i] * denominators[i]);
    double ridge = 0;
    ASSIGN_OR_RETURN(SymmetricMatrix information, Information(ridge));
    ASSIGN_OR_RETURN(const bool is_positive, information.Factorize(check_));
    if (!is_positive) break;
    information.Solve(step);
    ++fit.newton_step_count;
    fit.last_newton_step = LargestOf(step);
    bool is_better = false;
    std::vector<double> next;
    for (double length = 1; !is_better && length >= kLeastStepLength; length /= 2) {
      RETURN_IF_ERROR(check_());
      next = log_strengths_;
      for (size_t i = 0; i < item_count(); ++i) next[i] += length * step[i];
      is_better = fit.last_newton_step <= kSmallStep || LogLikelihoodOf(next) > log_likelihood;
    }
    wants_mm = !is_better;
    if (!is_better) continue;
    RETURN_IF_ERROR(Take(std::move(next)));
    if (fit.last_newton_step > kMaxLastNewtonStep) continue;

    Denominators();
    fit.log_likelihood = log_likelihood_;
    fit.log_strengths = log_strengths_;
    ASSIGN_OR_RETURN(fit.standard_errors, information.InverseDiagonal(check_));
    // The added direction has the inverse 1 / ridge.
    const double added = 1 / (ridge * static_cast<double>(item_count()));
    for (double& value : fit.standard_errors) value = std::sqrt(std::max(value - added, 0.0));
    return fit;
  }
  return errors::StrengthsUndefined(kDetermined,
                                    "the last step still moves a log-strength by " + errors::Show(fit.last_newton_step),
                                    errors::Show(fit.last_newton_step));
}

absl::Status CheckRanking(const Ranking& ranking, int32_t item_count) {
  RETURN_IF_ERROR(CheckDistinct(ranking.item_indices, item_count, "item_indices", "item"));
  const size_t least = ranking.others_below ? 1 : 2;
  if (ranking.item_indices.size() < least) {
    return errors::OrderInvalid("item_indices",
                                least == 1 ? "at least 1 item" : "at least 2 items (1 with others_below)",
                                std::to_string(ranking.item_indices.size()));
  }
  if (ranking.count >= 1 && ranking.count <= kMaxCount) return absl::OkStatus();
  return errors::OutOfRange("count", ranking.count, "[1, 1000000000]");
}

absl::Status CheckConnected(int32_t item_count, std::span<const Ranking> rankings) {
  ComparisonGraph graph(item_count);
  for (const Ranking& ranking : rankings) {
    // The wins over later places follow from those over the next one.
    for (size_t place = 1; place < ranking.item_indices.size(); ++place) {
      graph.AddWin(ranking.item_indices[place - 1], ranking.item_indices[place]);
    }
    if (!ranking.others_below) continue;
    for (const int32_t other : OthersOf(ranking, item_count)) graph.AddWin(ranking.item_indices.back(), other);
  }
  return graph.Check();
}

}  // namespace

int64_t PlaceCount(int32_t item_count, std::span<const Ranking> rankings) {
  int64_t count = 0;
  for (const Ranking& ranking : rankings) {
    count += ranking.others_below ? item_count : static_cast<int64_t>(ranking.item_indices.size());
  }
  return count;
}

absl::StatusOr<StrengthFit> FitStrengths(int32_t item_count, std::span<const Ranking> rankings,
                                         absl::FunctionRef<absl::Status()> check) {
  if (item_count < 2) return errors::OutOfRange("item_count", int64_t{item_count}, ">= 2");
  if (item_count > kMaxStrengthItems) return errors::AboveLimit("item_count", item_count, kMaxStrengthItems, 2);
  if (rankings.empty()) return errors::NoCandidates("rankings");
  if (const auto count = static_cast<int64_t>(rankings.size()); count > kMaxRankings) {
    return errors::AboveLimit("rankings", count, kMaxRankings, 1);
  }
  if (const int64_t count = PlaceCount(item_count, rankings); count > kMaxRankedItems) {
    return errors::AboveLimit("rankings", count, kMaxRankedItems, 1, "places of all rankings");
  }
  for (size_t i = 0; i < rankings.size(); ++i) {
    if (const absl::Status status = CheckRanking(rankings[i], item_count); !status.ok()) {
      return In(Element("rankings", static_cast<int64_t>(i), "."), status);
    }
  }
  RETURN_IF_ERROR(CheckConnected(item_count, rankings));
  return Fit(item_count, rankings, check).Run();
}

}  // namespace logitd
