// A decision between options by their log-probs.
//
//   Decide({-1.0, -2.0}, {0, 0.5}, /*temperature=*/0.5);   // softmax of (-2, -3): 0.731, 0.269; option 0 is chosen
//
// Source: docs/numerics.md, section 6. Thread-safe: a free function without state.
#ifndef LOGITD_CORE_DECISION_H_
#define LOGITD_CORE_DECISION_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace logitd {

struct Decision {
  // One for each option, >= 0, together 1; 0 for an option that is not possible.
  std::vector<double> probabilities;
  // The option with the largest value; of equal ones the first.
  int32_t chosen = 0;
  // Another option has the same value.
  bool tied = false;
};

// Shapes: log_probs, offsets [options]. Value of an option: log_prob + offset; probabilities: softmax(value / T).
// An option that is not possible has no log-prob. Range: temperature 0, which gives the chosen option probability 1, or
// in [1e-4, 1e6]; offsets finite. Unset: no option is possible.
std::optional<Decision> Decide(std::span<const std::optional<double>> log_probs, std::span<const double> offsets,
                               double temperature);

}  // namespace logitd

#endif  // LOGITD_CORE_DECISION_H_
