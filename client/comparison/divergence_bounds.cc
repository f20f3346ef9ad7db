#include "client/comparison/divergence_bounds.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "client/comparison/row_divergence.h"
#include "core/compensated_sum.h"
#include "core/exact_math.h"

namespace logitd::comparison {
namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double ProbabilityOf(double log_prob) { return log_prob == -kInfinity ? 0 : Exp(log_prob); }

// The least terms that rests within kRestSlack of these can have: both move towards each other. Equal rests have none.
DivergenceTerms RestTerms(double p_rest, double q_rest) {
  if (std::abs(p_rest - q_rest) <= 2 * kRestSlack) return {};
  const double towards = p_rest > q_rest ? kRestSlack : -kRestSlack;
  const double p = p_rest - towards;
  const double q = q_rest + towards;
  return TermsOf(Log(p), Log(q), p, q);
}

}  // namespace

DivergenceBounds BoundsOf(std::span<const ListedToken> listed, int64_t unlisted_count) {
  CompensatedSum p_sum, q_sum, kl_pq, kl_qp, js;
  bool pq_is_infinite = false;
  bool qp_is_infinite = false;
  for (const ListedToken& token : listed) {
    const double p = ProbabilityOf(token.p_log_prob);
    const double q = ProbabilityOf(token.q_log_prob);
    const DivergenceTerms terms = TermsOf(token.p_log_prob, token.q_log_prob, p, q);
    p_sum.Add(p);
    q_sum.Add(q);
    pq_is_infinite = pq_is_infinite || terms.kl_pq == kInfinity;
    qp_is_infinite = qp_is_infinite || terms.kl_qp == kInfinity;
    if (terms.kl_pq != kInfinity) kl_pq.Add(terms.kl_pq);
    if (terms.kl_qp != kInfinity) kl_qp.Add(terms.kl_qp);
    js.Add(terms.js);
  }
  DivergenceBounds bounds;
  const bool is_whole = unlisted_count == 0;
  if (!is_whole) {
    bounds.p_rest = std::clamp(1 - p_sum.value(), 0.0, 1.0);
    bounds.q_rest = std::clamp(1 - q_sum.value(), 0.0, 1.0);
    const DivergenceTerms rest = RestTerms(bounds.p_rest, bounds.q_rest);
    kl_pq.Add(rest.kl_pq);
    kl_qp.Add(rest.kl_qp);
    js.Add(rest.js);
  }
  const auto kl = [&](bool is_infinite, const CompensatedSum& sum) {
    const double lower = is_infinite ? kInfinity : sum.value();
    return Bounds{lower, is_whole ? lower : kInfinity};
  };
  bounds.kl_pq = kl(pq_is_infinite, kl_pq);
  bounds.kl_qp = kl(qp_is_infinite, kl_qp);
  bounds.js.lower = std::min(kLn2, js.value());
  bounds.js.upper = bounds.js.lower;
  if (!is_whole) {
    // The rests as one token are part of js; the largest that they can be takes its place.
    const double listed_js = js.value() - RestTerms(bounds.p_rest, bounds.q_rest).js;
    const double most = (bounds.p_rest + bounds.q_rest + 2 * kRestSlack) / 2 * kLn2;
    bounds.js.upper = std::min(kLn2, std::max(bounds.js.lower, listed_js + most));
  }
  return bounds;
}

}  // namespace logitd::comparison
