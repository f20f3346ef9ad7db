// What transformers, vLLM, llama.cpp and TensorRT-LLM do to a row, each in its own way and order, in double where they
// use float: what the presets of StageOrder must come out equal to. Written from their sources' behaviour, not from
// ours; they share no code with core/ and none with tests/testing/stage_reference.h but the distance to a cut.
//
// They know what their preset has, with the preset's default rules. Never linked into the server.
#ifndef LOGITD_TESTS_TESTING_PEER_SAMPLERS_H_
#define LOGITD_TESTS_TESTING_PEER_SAMPLERS_H_

#include <vector>

#include "core/logits_processor.h"
#include "core/sampling_params.h"
#include "core/types.h"
#include "tests/testing/stage_reference.h"

namespace logitd::testing {

struct PeerResult {
  // The tokens that can be drawn, ids ascending.
  std::vector<TokenId> kept;
  // Their probabilities; 0 for the others. [vocab_size]
  std::vector<double> probabilities;
  std::vector<CutDistance> cuts;
};

// transformers: the list of logits processors that GenerationMixin makes for do_sample=True.
PeerResult SampleAsTransformers(LogitsView row, const SamplingParams& params, const StepContext& context);

// vLLM: Sampler of its V1 engine, with the sort-based top-k and top-p.
PeerResult SampleAsVllm(LogitsView row, const SamplingParams& params, const StepContext& context);

// llama.cpp: the default chain of its samplers. XTC acts on every step: `xtc.probability` is 1 or 0.
PeerResult SampleAsLlamaCpp(LogitsView row, const SamplingParams& params, const StepContext& context);

// TensorRT-LLM: the kernels of its C++ decoder, with penalties over the prompt and the output. Temperature 0 is
// top-k 1. Two things are the preset's and not its own (docs/numerics.md, section 8): min-p comes last, and the
// probabilities are those of the kept tokens, renormalised.
PeerResult SampleAsTrtLlm(LogitsView row, const SamplingParams& params, const StepContext& context);

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_PEER_SAMPLERS_H_
