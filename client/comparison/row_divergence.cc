// The sum of p ln(p / q) loses its digits where p and q are nearly equal: terms of both signs cancel. The sums of p and
// of q are both 1, so that
//
//   KL(p || q) = sum p ln(p / q) - p + q = sum p h(d)   with d = ln q - ln p and h(d) = e^d - 1 - d >= 0
//
// is the same number, without any cancellation between tokens. An error of a normaliser, which moves every d by the
// same amount, has no effect of first order. With m = (p + q) / 2 and a = ln(m / p),
//
//   JS = sum (p h(a) + q h(a - d)) / 2,   a = u + ln cosh u,   u = d / 2.
//
// Four tokens, p = (0.5, 0.25, 0.25, 0), q = (0.25, 0.25, 0.25, 0.25):
//
//   token   d       p h(d)                     q h(-d)
//   0      -0.693   0.5 * 0.193 = 0.0966       0.25 * 0.307 = 0.0767
//   1, 2    0       0                          0
//   3      +inf     q = 0.25                   +inf
//   sum             KL(p || q) = 0.3466        KL(q || p) = +inf
#include "client/comparison/row_divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/compensated_sum.h"
#include "core/exact_math.h"
#include "core/limits.h"

namespace logitd::comparison {
namespace {

constexpr double kLn2 = 0x1.62e42fefa39efp-1;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Below this |d| the series is exact to the last bits; above, the direct formulas lose at most five.
constexpr double kSmall = 0.25;

// e^x - 1 - x for |x| <= 0.3: its Taylor series up to x^15 / 15!. The next term is below 2^-60 of the sum.
double SmallExcess(double x) {
  double sum = 0;
  for (int k = 15; k >= 3; --k) sum = (sum + 1) * (x / k);
  return (sum + 1) * (x * x / 2);
}

// ln cosh u for |u| <= 0.125: its Taylor series. The next term, of u^16, is below 2^-53 of the sum.
double SmallLogCosh(double u) {
  const double v = u * u;
  double sum = 10922.0 / 42567525;
  for (const double coefficient : {-691.0 / 935550, 31.0 / 14175, -17.0 / 2520, 1.0 / 45, -1.0 / 12, 1.0 / 2}) {
    sum = sum * v + coefficient;
  }
  return sum * v;
}

// The two terms of JS where p >= q: p ln(2 p / (p + q)) + q ln(2 q / (p + q)), halved. `d` = ln q - ln p <= 0.
double LargeJsTerm(double p, double q, double d) {
  const double log_sum = Log(1 + Exp(d));
  // A q that is too small for a double has no term, however large d is.
  return (p * (kLn2 - log_sum) + (q == 0 ? 0 : q * (kLn2 - log_sum + d))) / 2;
}

// Keeps the tokens with the largest |p - q|.
class LargestDifferences {
 public:
  explicit LargestDifferences(int count) : count_(static_cast<size_t>(count)) {}

  void Offer(double difference, const TokenDifference& token) {
    if (difference == 0 || count_ == 0) return;
    if (kept_.size() == count_ && difference <= kept_.back().difference) return;
    if (kept_.size() == count_) kept_.pop_back();
    // Behind equal ones, which have lower ids.
    const auto at = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& k) { return k.difference < difference; });
    kept_.insert(at, {difference, token});
  }
  std::vector<TokenDifference> Take() const {
    std::vector<TokenDifference> tokens;
    for (const Kept& kept : kept_) tokens.push_back(kept.token);
    return tokens;
  }

 private:
  struct Kept {
    double difference;
    TokenDifference token;
  };
  size_t count_;
  std::vector<Kept> kept_;
};

}  // namespace

double LeastTemperature() { return kMinTemperature; }
double LargestTemperature() { return kMaxTemperature; }
double LargestLogit() { return std::numeric_limits<float>::max(); }

std::optional<RowFault> FaultOf(std::span<const double> logits) {
  bool has_finite = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double x = logits[i];
    if (x == -kInfinity) continue;
    if (std::isnan(x) || std::abs(x) > LargestLogit()) return RowFault{static_cast<int32_t>(i), x};
    has_finite = true;
  }
  if (!has_finite) return RowFault{std::nullopt, -kInfinity};
  return std::nullopt;
}

void RowLogProbs::Assign(std::span<const double> logits, double temperature) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  top_token_ = static_cast<int32_t>(largest - logits.begin());
  log_probs_.resize(logits.size());
  probabilities_.resize(logits.size());
  CompensatedSum sum;
  for (size_t i = 0; i < logits.size(); ++i) {
    log_probs_[i] = (logits[i] - *largest) / temperature;
    sum.Add(Exp(log_probs_[i]));
  }
  const double log_sum = Log(sum.value());
  CompensatedSum entropy;
  for (size_t i = 0; i < logits.size(); ++i) {
    log_probs_[i] -= log_sum;
    probabilities_[i] = Exp(log_probs_[i]);
    if (probabilities_[i] > 0) entropy.Add(-probabilities_[i] * log_probs_[i]);
  }
  entropy_ = std::max(0.0, entropy.value());
}

DivergenceTerms TermsOf(double p_log_prob, double q_log_prob, double p, double q) {
  if (p_log_prob == -kInfinity && q_log_prob == -kInfinity) return {};
  if (p_log_prob == -kInfinity) return {q, kInfinity, q / 2 * kLn2, q};
  if (q_log_prob == -kInfinity) return {kInfinity, p, p / 2 * kLn2, p};
  const double d = q_log_prob - p_log_prob;
  DivergenceTerms terms;
  if (std::abs(d) < kSmall) {
    const double excess = SmallExcess(d);
    terms.kl_pq = p * excess;
    terms.kl_qp = q * SmallExcess(-d);
    const double a = d / 2 + SmallLogCosh(d / 2);
    terms.js = (p * SmallExcess(a) + q * SmallExcess(a - d)) / 2;
    terms.variation = p * std::abs(d + excess);
    return terms;
  }
  terms.kl_pq = p == 0 ? q : std::max(0.0, q - p - p * d);
  terms.kl_qp = q == 0 ? p : std::max(0.0, p - q + q * d);
  terms.js = std::max(0.0, d < 0 ? LargeJsTerm(p, q, d) : LargeJsTerm(q, p, -d));
  terms.variation = std::abs(p - q);
  return terms;
}

RowDivergence DivergenceOf(const RowLogProbs& p, const RowLogProbs& q, int largest_count) {
  RowDivergence divergence;
  LargestDifferences largest(largest_count);
  CompensatedSum kl_pq, kl_qp, js, variation;
  for (size_t i = 0; i < p.log_probs().size(); ++i) {
    const double p_log_prob = p.log_probs()[i];
    const double q_log_prob = q.log_probs()[i];
    const DivergenceTerms terms = TermsOf(p_log_prob, q_log_prob, p.probabilities()[i], q.probabilities()[i]);
    // An infinite term would make the compensation NaN.
    if (terms.kl_pq == kInfinity) {
      ++divergence.excluded_by_q_alone;
    } else {
      kl_pq.Add(terms.kl_pq);
    }
    if (terms.kl_qp == kInfinity) {
      ++divergence.excluded_by_p_alone;
    } else {
      kl_qp.Add(terms.kl_qp);
    }
    js.Add(terms.js);
    variation.Add(terms.variation);
    largest.Offer(terms.variation, {static_cast<int32_t>(i), p_log_prob, q_log_prob});
  }
  divergence.kl_pq = divergence.excluded_by_q_alone > 0 ? kInfinity : kl_pq.value();
  divergence.kl_qp = divergence.excluded_by_p_alone > 0 ? kInfinity : kl_qp.value();
  divergence.js = std::min(kLn2, js.value());
  divergence.total_variation = std::min(1.0, variation.value() / 2);
  divergence.top_agrees = p.top_token() == q.top_token();
  divergence.largest = largest.Take();
  return divergence;
}

}  // namespace logitd::comparison
