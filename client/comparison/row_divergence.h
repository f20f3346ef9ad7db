// How two rows of one vocabulary differ: Kullback-Leibler and Jensen-Shannon divergence, total variation, top-1.
//
//   RowLogProbs p, q;
//   p.Assign(logits_of_p, /*temperature=*/1);
//   q.Assign(logits_of_q, 1);
//   const RowDivergence d = DivergenceOf(p, q, /*largest_count=*/3);
//   d.kl_pq;                                       // sum over tokens of p ln(p / q), nats
//
// A token whose logit is -inf is excluded: its probability is 0, and its term of every sum is what the limit is: 0 in
// p ln(p / q) if p excludes it, and +inf if q alone does. No value is ever NaN.
//
// Values are computed in double with core's ln and exp, which are the same on every machine, and compensated sums.
// Error: <= 1e-14 + 1e-9 of the value, for |logit / T| <= 100, against a 50-digit reference. KL and JS are sums of
// terms that are not negative (p ln(p / q) - p + q), so they are never below 0, and equal rows have exactly 0.
//
// Thread-compatible.
#ifndef LOGITD_CLIENT_COMPARISON_ROW_DIVERGENCE_H_
#define LOGITD_CLIENT_COMPARISON_ROW_DIVERGENCE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace logitd::comparison {

// The temperatures that a comparison takes, as core's.
double LeastTemperature();
double LargestTemperature();
// Finite logits beyond it are refused, as f32 cannot hold them.
double LargestLogit();

// Why values are no row of logits.
struct RowFault {
  // The first value that is NaN, +inf, or finite and beyond LargestLogit(). Unset: every value is -inf.
  std::optional<int32_t> token_id;
  double value = 0;
};

// Unset: the row can be used. Shape: logits [vocab_size], nats. REQUIRES: vocab_size >= 1.
std::optional<RowFault> FaultOf(std::span<const double> logits);

// The distribution softmax(logits / temperature) of one row.
class RowLogProbs {
 public:
  // Shape: logits [vocab_size]; logits may also be log-probs, whatever constant was added to them.
  // REQUIRES: !FaultOf(logits); temperature in [LeastTemperature(), LargestTemperature()].
  void Assign(std::span<const double> logits, double temperature);

  // ln p, nats; -inf: excluded. Shape [vocab_size].
  const std::vector<double>& log_probs() const { return log_probs_; }
  // p. It may be 0 without being excluded, if a double cannot hold it.
  const std::vector<double>& probabilities() const { return probabilities_; }
  // The token with the largest logit; of equal ones the lowest id.
  int32_t top_token() const { return top_token_; }
  // -sum p ln p, nats, >= 0.
  double entropy() const { return entropy_; }

 private:
  std::vector<double> log_probs_;
  std::vector<double> probabilities_;
  int32_t top_token_ = 0;
  double entropy_ = 0;
};

// A token to which two rows give different probabilities.
struct TokenDifference {
  int32_t token_id = 0;
  // nats; -inf: excluded.
  double p_log_prob = 0;
  double q_log_prob = 0;
};

struct RowDivergence {
  // KL(p || q) = sum p ln(p / q), nats, in [0, +inf]. +inf: q excludes a token that p does not.
  double kl_pq = 0;
  // KL(q || p).
  double kl_qp = 0;
  // (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, nats, in [0, ln 2].
  double js = 0;
  // sum |p - q| / 2, in [0, 1].
  double total_variation = 0;
  bool top_agrees = false;
  // Tokens that one row excludes and the other does not.
  int32_t excluded_by_q_alone = 0;
  int32_t excluded_by_p_alone = 0;
  // The tokens with the largest |p - q|, largest first, of equal ones the lowest id; those without a difference left
  // out.
  std::vector<TokenDifference> largest;
};

// Shape: both rows have the same vocab_size (REQUIRES). `largest_count` in [0, 64]. Time: O(vocab_size *
// largest_count).
RowDivergence DivergenceOf(const RowLogProbs& p, const RowLogProbs& q, int largest_count);

// The terms of one token, for rows that are known in part (divergence_bounds.h).
struct DivergenceTerms {
  double kl_pq = 0;
  double kl_qp = 0;
  double js = 0;
  double variation = 0;
};
// ln p and ln q of a token, and p and q; -inf and 0: excluded. The terms are those of the Bregman form, >= 0: over a
// whole vocabulary they add up to the divergences.
DivergenceTerms TermsOf(double p_log_prob, double q_log_prob, double p, double q);

}  // namespace logitd::comparison

#endif  // LOGITD_CLIENT_COMPARISON_ROW_DIVERGENCE_H_
