// The truncation stages: each keeps a prefix of what the stage before left, in the order (logit descending, id
// ascending), and at least one token. Sets are decided on logits and integer masses, never on rounded probabilities.
//
// Source: docs/numerics.md, section 2. Thread-safe: free functions without state.
#ifndef LOGITD_CORE_TRUNCATION_H_
#define LOGITD_CORE_TRUNCATION_H_

#include <cstdint>

#include "core/distribution.h"

namespace logitd {

// Keeps exactly the first k tokens. REQUIRES: k >= 1; k >= kept_count() changes nothing.
void KeepTopK(int32_t k, Distribution& distribution);
// Keeps the shortest prefix whose mass is >= P = ceil(S p (1 - 2^-40)), S the mass before, in exact integer arithmetic.
// Range: p in [0, 1). Of 10 equal tokens at p = 0.9 it keeps 9.
void KeepTopP(double p, Distribution& distribution);
// Keeps tokens with x - max >= T ln(min_p), in double. Range: min_p in (0, 1].
void KeepMinP(double min_p, Distribution& distribution);

// P as above; exposed for tests and for the proof of the boundary.
uint64_t TopPMass(uint64_t total_weight, double p);

}  // namespace logitd

#endif  // LOGITD_CORE_TRUNCATION_H_
