// The probability of an order under the Plackett-Luce model: the first place goes to an item with the probability of a
// softmax over all of them, the second to one of the rest in the same way, and so on.
//
//   const double strengths[] = {std::log(6), std::log(3), std::log(1)};
//   OrderLogProb(strengths, {{0, 1, 2}});   // ln(6/10 * 3/4) = ln 0.45
//   TopLogProb(strengths, {{0}});           // ln(6/10): item 0 is first, whatever follows
//
// An item with log-strength -inf comes after every item with a finite one. Several of them have equal chances among
// themselves, as with a common strength that goes to 0. So the probabilities of all orders always sum to 1.
//
// Thread-safe: free functions without state. Source: R. L. Plackett, "The Analysis of Permutations", Applied Statistics
// 24 (1975); R. D. Luce, "Individual Choice Behavior" (1959). Normative: docs/numerics.md.
#ifndef LOGITD_CORE_PLACKETT_LUCE_H_
#define LOGITD_CORE_PLACKETT_LUCE_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace logitd {

// The largest magnitude of a finite log-strength, nats: differences and their sums stay inside the range of a double.
inline constexpr double kMaxLogStrength = 1e300;

// Shapes: log_strengths [items], items >= 1; order [items], each item once, best first.
// Units: nats, <= 0; -inf: the order is impossible. Range of log_strengths: -inf, or [-1e300, 1e300].
// Errors: NO_CANDIDATES (no item), FIELD_OUT_OF_RANGE (a strength, NaN among them), ORDER_INVALID (an index outside, an
// item twice, an item missing). Equal strengths are legal.
// Error: <= 1e-15 of the result + 1e-15 nats for each item, against tests/golden. Cost: linear.
absl::StatusOr<double> OrderLogProb(std::span<const double> log_strengths, std::span<const int32_t> order);

// The log-prob that the first places are those of `top`, whatever follows: the sum over all orders that begin so.
// Shapes: top [1, items], distinct items. Everything else is as in OrderLogProb, also its bits where `top` has every
// item.
absl::StatusOr<double> TopLogProb(std::span<const double> log_strengths, std::span<const int32_t> top);

// ORDER_INVALID unless `order` has each of [0, item_count) exactly once. `field`: the name of the list in messages;
// `item`: of what it has, "candidate".
absl::Status CheckOrder(std::span<const int32_t> order, int32_t item_count, std::string_view field,
                        std::string_view item);
// The same without the condition that no item is missing.
absl::Status CheckDistinct(std::span<const int32_t> items, int32_t item_count, std::string_view field,
                           std::string_view item);

// What to do with equal places.
enum class Ties {
  // ORDER_INVALID, which names two tied items.
  kRefuse = 0,
  // The item with the lower index comes first, as Rank breaks ties.
  kByIndex = 1
};

// The order of `items` by their places, best (1) first. Shapes: places [items]. Range: places >= 1, in any order and
// with gaps; only their order counts. Errors: FIELD_OUT_OF_RANGE (a place, the number of places), ORDER_INVALID (ties).
absl::StatusOr<std::vector<int32_t>> OrderOfPlaces(std::span<const int32_t> items, std::span<const int32_t> places,
                                                   Ties ties);

}  // namespace logitd

#endif  // LOGITD_CORE_PLACKETT_LUCE_H_
