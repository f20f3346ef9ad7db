// Distribution + random bits -> token.
//
// Source: docs/numerics.md, section 4. Thread-safe: free functions without state.
#ifndef LOGITD_CORE_SAMPLER_H_
#define LOGITD_CORE_SAMPLER_H_

#include <cstdint>

#include "core/distribution.h"
#include "core/types.h"

namespace logitd {

// The token of Distribution::DrawToken, alone.
inline TokenId Sample(Distribution& distribution, uint64_t uniform) { return distribution.DrawToken(uniform).token_id; }

}  // namespace logitd

#endif  // LOGITD_CORE_SAMPLER_H_
