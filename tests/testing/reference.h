// The numbers again, in plain double and with sorts, simple enough to be right by reading. Never linked into the
// server. Within about 1e-12 of the exact values, which is far inside the bounds that core states.
#ifndef LOGITD_TESTS_TESTING_REFERENCE_H_
#define LOGITD_TESTS_TESTING_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "core/sampling_params.h"
#include "core/types.h"

namespace logitd::testing {

struct ReferenceDistribution {
  // Kept tokens, in the order (logit descending, id ascending).
  std::vector<TokenId> kept;
  // ln p of every token, -inf if it is not kept. [vocab_size]
  std::vector<double> log_probs;
  // nats.
  double entropy = 0;
};

// Every stage of `params` with probabilities in double. REQUIRES: params.temperature > 0.
// A top-p boundary that double cannot decide may fall on the other side than core's exact one.
ReferenceDistribution ReferenceOf(LogitsView row, const SamplingParams& params);

// Token ids in the order (logit descending, id ascending).
std::vector<TokenId> SortedTokens(LogitsView row);

// Logits of a made-up row: mean 0, standard deviation `scale`, quantised to steps of 2^-10 so that ties occur. The same
// for the same seed on every machine.
std::vector<float> MakeRow(int32_t vocab_size, double scale, uint64_t seed);

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_REFERENCE_H_
