// Distribution + random bits -> token.
//
// Source: docs/numerics.md, section 4. Thread-safe: free functions without state.
#ifndef LOGITD_CORE_SAMPLER_H_
#define LOGITD_CORE_SAMPLER_H_

#include <cstdint>

#include "core/distribution.h"
#include "core/types.h"

namespace logitd {

// The kept token whose interval of prefix sums, in id order, holds r = floor(uniform Z / 2^64): token i has probability
// weight_i / Z, up to 2^-64. A token of weight 0 has no interval. At temperature 0 the argmax, whatever `uniform` is.
TokenId Sample(const Distribution& distribution, uint64_t uniform);

}  // namespace logitd

#endif  // LOGITD_CORE_SAMPLER_H_
