// llama.cpp's own samplers on a row: its default chain, without a model.
#ifndef LOGITD_TESTS_PEERS_LLAMA_SAMPLER_H_
#define LOGITD_TESTS_PEERS_LLAMA_SAMPLER_H_

#include "core/logits_processor.h"
#include "core/sampling_params.h"
#include "core/types.h"
#include "tests/testing/peer_samplers.h"
#include "tests/testing/random_stages.h"

namespace logitd::testing {

// Numbers of `params` as llama.cpp takes them: rounded to f32.
SamplingParams RoundedToFloat(const SamplingParams& params);

// Penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC and temperature of libllama, in this order.
// `cuts` of the result is empty: what llama.cpp does says nothing about nearness. Candidates of -inf are left out from
// the start, as llama.cpp's grammar sampler leaves tokens out.
// REQUIRES: some token is allowed; xtc.probability is 0 or 1.
PeerResult SampleWithLibllama(LogitsView row, const SamplingParams& params, const StepContext& context);

// Whether its chain gives numbers on this step at all. Its typical sampler takes the log of every probability: one
// that is 0, for the candidate is masked by top-n-sigma or lies too far below in f32, makes the entropy NaN.
bool LibllamaIsDefinedOn(const RandomStep& step);

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_PEERS_LLAMA_SAMPLER_H_
