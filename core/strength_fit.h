// The strengths under which given rankings are most probable (maximum likelihood of Plackett and Luce).
//
//   const std::vector<Ranking> rankings = {{.item_indices = {0, 1, 2}, .count = 9}, {.item_indices = {2, 0}}};
//   ASSIGN_OR_RETURN(const StrengthFit fit, FitStrengths(3, rankings, [] { return absl::OkStatus(); }));
//   fit.log_strengths;     // their sum is 0
//   fit.standard_errors;   // nats
//
// Thread-safe: a free function without state. Deterministic: rankings and their order give the same bits everywhere.
// Source: D. R. Hunter, "MM Algorithms for Generalized Bradley-Terry Models", Annals of Statistics 32 (2004).
// Normative: docs/numerics.md.
#ifndef LOGITD_CORE_STRENGTH_FIT_H_
#define LOGITD_CORE_STRENGTH_FIT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd {

// The largest distance of a log-strength from the mean of all, nats: products of two strengths stay inside the range of
// a double.
inline constexpr double kMaxFittedLogStrength = 300;
// The fit ends when a Newton step moves no log-strength by more than this, nats.
inline constexpr double kMaxLastNewtonStep = 1e-9;

// One ranking, or several equal ones.
struct Ranking {
  // Distinct items, best first.
  std::vector<int32_t> item_indices;
  // Every item that is not listed came after those that are, in an order that is not known (a list of the top k).
  // False: the others took no part.
  bool others_below = false;
  // How often it was seen, in [1, 1e9].
  int64_t count = 1;
};

struct StrengthFit {
  // [items], nats; their sum is 0.
  std::vector<double> log_strengths;
  // [items], nats: the square roots of the diagonal of the (pseudo)inverse of the observed Fisher information, under
  // the condition that log-strengths sum to 0.
  std::vector<double> standard_errors;
  // Of all rankings, nats.
  double log_likelihood = 0;
  // The same if all strengths were equal: what there is to explain.
  double equal_log_likelihood = 0;
  // Steps of the MM algorithm and of Newton's.
  int32_t mm_step_count = 0;
  int32_t newton_step_count = 0;
  // The largest change of a log-strength in the last Newton step, nats, <= kMaxLastNewtonStep. To second order it is
  // the distance of the point before that step to the maximum, so it bounds what is left after it.
  double last_newton_step = 0;
};

// The number of places that the fit goes through at each step: listed items, or all for a ranking with others_below.
int64_t PlaceCount(int32_t item_count, std::span<const Ranking> rankings);

// Fits strengths. `check` runs often, at least once a step; its error ends the fit and is returned.
// Range: item_count in [2, kMaxStrengthItems]; rankings [1, kMaxRankings], each of at least two items of which at least
// one is listed; PlaceCount <= kMaxRankedItems.
// Errors: FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED, NO_CANDIDATES (no ranking), ORDER_INVALID (in a ranking; the field is
// "rankings[3].item_indices[1]"), STRENGTHS_UNDEFINED (the rankings determine no finite strengths: see ComparisonGraph;
// or a log-strength is beyond kMaxFittedLogStrength, or the steps do not settle within double precision). Cost:
// PlaceCount each MM step; the sum of squared lengths and the cube of item_count each Newton step, of which there are
// usually 4 to 8.
absl::StatusOr<StrengthFit> FitStrengths(int32_t item_count, std::span<const Ranking> rankings,
                                         absl::FunctionRef<absl::Status()> check);

}  // namespace logitd

#endif  // LOGITD_CORE_STRENGTH_FIT_H_
