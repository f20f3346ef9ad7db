#include "client/cli/step_flags.h"

#include <cstdint>
#include <utility>

#include "client/cli/request_flags.h"
#include "client/cli/sampling_flags.h"

namespace logitd::cli {

std::vector<Flag> StepFlags() {
  return {{"--seed", "SEED", "the sequence's seed, in [0, 2^64)"},
          {"--sequence-key", "KEY", "the sequence's key, in [0, 2^56)"},
          {"--position", "N", "how many tokens were chosen before; default: as many as --output-tokens has"},
          {"--prompt-tokens", "IDS", "the prompt, for biases and penalties"},
          {"--output-tokens", "IDS", "the tokens chosen so far, for biases and penalties"},
          {"--excluded-tokens", "IDS", "eos and stop tokens, where min_tokens was not reached"}};
}

absl::Status SetStep(const Arguments& arguments, v1::ComputeDistributionRequest& request) {
  const auto add = [](google::protobuf::RepeatedField<int32_t>* list) {
    return [list](const std::vector<int32_t>& ids) { list->Add(ids.begin(), ids.end()); };
  };
  for (const absl::Status& status : {
           SetIfGiven(SamplingFrom(arguments),
                      [&](v1::SamplingParams p) {
                        // Here the seed is the draw's.
                        p.clear_seed();
                        if (p.ByteSizeLong() > 0) *request.mutable_sampling() = std::move(p);
                      }),
           SetIfGiven(arguments.Uint64("--seed"), [&](uint64_t v) { request.mutable_verify()->set_seed(v); }),
           SetIfGiven(arguments.Uint64("--sequence-key"),
                      [&](uint64_t v) { request.mutable_verify()->set_sequence_key(v); }),
           SetIfGiven(arguments.Int32("--position"), [&](int32_t v) { request.mutable_verify()->set_position(v); }),
           SetIfGiven(arguments.TokenIds("--prompt-tokens"), add(request.mutable_prompt_token_ids())),
           SetIfGiven(arguments.TokenIds("--output-tokens"), add(request.mutable_output_token_ids())),
           SetIfGiven(arguments.TokenIds("--excluded-tokens"), add(request.mutable_excluded_token_ids())),
       }) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace logitd::cli
