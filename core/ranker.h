// Orders candidates by their log-probs, in every way that is defined.
//
// Source: docs/numerics.md, section 6. Thread-safe: free functions without state.
#ifndef LOGITD_CORE_RANKER_H_
#define LOGITD_CORE_RANKER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace logitd {

// A scored candidate. REQUIRES: log_prob is finite, token_count >= 1. An empty candidate is an error before it comes
// here, so that it never ranks first by accident.
struct CandidateScore {
  // Sum over its tokens, nats.
  double log_prob = 0;
  int32_t token_count = 0;
  // >= 1. Unset: not known.
  std::optional<int64_t> byte_count;
  std::optional<int64_t> character_count;
  // The sum after the unconditional context, nats. Unset: none.
  std::optional<double> unconditional_log_prob = std::nullopt;
  // ln of the total probability of its tokenisations. Unset: not known.
  std::optional<double> combined_log_prob = std::nullopt;
};

// Numbers as logitd.v1.Normalization.
enum class Normalization {
  kSum = 1,
  kPerToken = 2,
  kPerByte = 3,
  kPerCharacter = 4,
  kGnmt = 5,
  kPmi = 6,
  kCombined = 7
};

// The candidate's value under `by`, nats (per unit); larger is better. Range: gnmt_alpha in [0, 10], only for kGnmt.
// Unset: a number that it needs is not known: bytes, characters, alpha, the unconditional or the combined log-prob.
std::optional<double> NormalizedLogProb(const CandidateScore& candidate, Normalization by,
                                        std::optional<double> gnmt_alpha = std::nullopt);
// ((5 + L) / 6)^alpha, >= 1; exactly 1 for one token. Range: token_count >= 1, alpha in [0, 10].
double GnmtPenalty(int32_t token_count, double alpha);
// FIELD_OUT_OF_RANGE of gnmt_alpha outside [0, 10].
absl::Status CheckGnmtAlpha(double alpha);
// -log_prob / (bytes ln 2), bits. Unset: bytes not known.
std::optional<double> BitsPerByte(const CandidateScore& candidate);
// exp(-log_prob / tokens), >= 1; +inf above the range of double (a mean below -709.78 nats).
double Perplexity(const CandidateScore& candidate);

// An ordering of candidates, best first.
struct Ordering {
  // Indices of the candidates that have a value; equal values in index order.
  std::vector<int32_t> candidate_indices;
  // The place of each of them; equal values share the best place ("1224").
  std::vector<int32_t> places;
  // Whether more than one candidate is in place 1.
  bool tied = false;
};

// Shapes: values [candidates]; a candidate without a value is left out. Larger is better.
Ordering OrderBy(std::span<const std::optional<double>> values);

// softmax(beta * value) over the candidates that have a value; unset for the others. Range: beta in [0, 1000].
std::vector<std::optional<double>> CandidateProbabilities(std::span<const std::optional<double>> values, double beta);

// ln of the sum of exp(value); a value may be -inf. -inf: the sum is 0, or there is no value.
double LogSumExp(std::span<const double> values);

}  // namespace logitd

#endif  // LOGITD_CORE_RANKER_H_
