// Bounds of the divergences of two rows that are known in part: the probabilities of some tokens under both, and
// nothing about the others except that every probability is at least 0.
//
//   std::vector<ListedToken> listed = ...;        // the union of both top lists, with ln p and ln q of each
//   const DivergenceBounds bounds = BoundsOf(listed, /*unlisted_count=*/vocab_size - listed.size());
//   bounds.kl_pq.lower;                           // KL(p || q) is at least this
//
// - Lower: the tokens that are not listed count as one token. Joining tokens never makes a divergence larger (the
//   log-sum inequality), and here it makes it as small as it can be.
// - Upper: KL has none, because nothing keeps q of an unlisted token away from 0. JS is largest if p and q have no
//   unlisted token in common: (rest of p + rest of q) / 2 * ln 2.
// - If every token is listed, lower and upper are equal.
//
// The rest of p is 1 minus a sum, which the rounding of the log-probs moves by up to kRestSlack. The bounds hold for
// every rest within it. Thread-safe.
#ifndef LOGITD_CLIENT_COMPARISON_DIVERGENCE_BOUNDS_H_
#define LOGITD_CLIENT_COMPARISON_DIVERGENCE_BOUNDS_H_

#include <cstdint>
#include <span>

namespace logitd::comparison {

// Above the rounding of a server's log-probs: a row's normaliser is a sum of at most 2^20 integers, each rounded to
// 2^-42 of the largest, which is 2^-22. Far below any divergence that matters.
inline constexpr double kRestSlack = 1e-6;

struct ListedToken {
  // nats; -inf: excluded.
  double p_log_prob = 0;
  double q_log_prob = 0;
};

struct Bounds {
  double lower = 0;
  // +inf: there is no upper bound.
  double upper = 0;
};

struct DivergenceBounds {
  // As in RowDivergence, nats.
  Bounds kl_pq;
  Bounds kl_qp;
  Bounds js;
  // The probability of the tokens that are not listed, [0, 1].
  double p_rest = 0;
  double q_rest = 0;
};

// `unlisted_count`: the tokens of the vocabulary that are not listed, >= 0.
DivergenceBounds BoundsOf(std::span<const ListedToken> listed, int64_t unlisted_count);

}  // namespace logitd::comparison

#endif  // LOGITD_CLIENT_COMPARISON_DIVERGENCE_BOUNDS_H_
