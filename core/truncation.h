// The truncation stages. Each keeps some of the tokens that the stage before left, and at least one. Logits and integer
// masses decide, never rounded probabilities.
//
// Probabilities are those at the temperature in force, over the tokens that the stage before left. "In order" means by
// logit, descending, then id, ascending. All stages except typical and XTC keep a prefix of this order.
//
// Source: docs/numerics.md, section 2. Thread-safe: free functions without state.
#ifndef LOGITD_CORE_TRUNCATION_H_
#define LOGITD_CORE_TRUNCATION_H_

#include <cstdint>
#include <vector>

#include "core/kept_tokens.h"
#include "core/sampling_params.h"

namespace logitd {

// Working space of the stages below, reused for every row.
struct TruncationSpace {
  struct Candidate {
    double distance;
    uint64_t packed;
    uint64_t weight;
    bool operator<(const Candidate& other) const {
      return distance < other.distance || (distance == other.distance && packed < other.packed);
    }
  };
  std::vector<Candidate> candidates;
  std::vector<TokenId> removed;
  // The lowest logit that top-n-sigma keeps, found before the first cut.
  float sigma_lowest = 0;
};

// Keeps exactly the first k tokens; with kKeepAll also all tokens that equal the last of them. REQUIRES: k >= 1.
void KeepTopK(int32_t k, TieRule ties, KeptTokens& kept);
// The mass that top-p's prefix must reach, where S is the mass before; 0: the first token alone. Range: p in [0, 1).
// kReached and kMassAbove: ceil(S p (1 - 2^-40)); kExceeded: floor(S p) + 1; kAscending: S - floor(S (1 - p)).
uint64_t TopPMass(uint64_t total_weight, double p, TopPBoundary boundary);
// Keeps the shortest prefix of at least that mass; with kMassAbove also all tokens that equal its last one.
void KeepTopP(double p, TopPBoundary boundary, KeptTokens& kept);
// Keeps tokens with x - max >= T ln(min_p), in double. Range: min_p in (0, 1].
void KeepMinP(double min_p, KeptTokens& kept);
// Keeps tokens with x - max >= T (ln epsilon + ln(Z 2^-42)). Range: epsilon in (0, 1).
void KeepEpsilon(double epsilon, KeptTokens& kept);
// KeepEpsilon with the smaller of ln eta and (ln eta) / 2 - H in place of ln epsilon; H is the entropy. Range: eta in
// (0, 1).
void KeepEta(double eta, KeptTokens& kept);

// The lowest logit that top-n-sigma keeps of these tokens: x - max >= -n sigma, where sigma is their standard
// deviation. The stage then is kept.KeepAtLeast of it.
float LowestOfSigma(double n, KeptTokens& kept);

// Keeps the shortest prefix whose mass reaches p (kExceeded: exceeds it) in the order of |-ln p_i - H|, then logit,
// descending, then id; with kKeepAll also all tokens as far from H as its last one. Range: p in (0, 1).
void KeepTypical(double p, TopPBoundary boundary, TieRule ties, TruncationSpace& space, KeptTokens& kept);
// Removes all tokens with p_i >= threshold except the last of them in order. Range: threshold in (0, 0.5].
void ExcludeTopChoices(double threshold, TruncationSpace& space, KeptTokens& kept);

}  // namespace logitd

#endif  // LOGITD_CORE_TRUNCATION_H_
