// Where a model was sure of another token than the one that stands there.
#ifndef LOGITD_CLIENT_COMPARISON_CONFIDENT_TOKEN_H_
#define LOGITD_CLIENT_COMPARISON_CONFIDENT_TOKEN_H_

#include "core/exact_math.h"

namespace logitd::comparison {

struct ConfidenceRule {
  // (0.5, 1).
  double confidence = 0.9;
  // nats, >= 0.
  double low_entropy = 0.5;
};

// exp(log_prob): the probability, [0, 1].
inline double ProbabilityOf(double log_prob) { return Exp(log_prob); }

// Whether the model was confident, and not of the token given:
// - it gives the token at most 1 - confidence, and
// - it gives its most likely token at least `confidence`, or the row's entropy is at most low_entropy.
// Log-probs in nats, in [-inf, 0].
inline bool IsConfidentlyAgainst(double given_log_prob, double top_log_prob, double entropy,
                                 const ConfidenceRule& rule) {
  if (ProbabilityOf(given_log_prob) > 1 - rule.confidence) return false;
  return ProbabilityOf(top_log_prob) >= rule.confidence || entropy <= rule.low_entropy;
}

}  // namespace logitd::comparison

#endif  // LOGITD_CLIENT_COMPARISON_CONFIDENT_TOKEN_H_
