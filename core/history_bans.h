// Tokens that the tokens so far exclude, whatever the row: bad words, and n-grams that may not repeat.
#ifndef LOGITD_CORE_HISTORY_BANS_H_
#define LOGITD_CORE_HISTORY_BANS_H_

#include <span>

#include "core/sampling_params.h"
#include "core/types.h"

namespace logitd {

// The field of SamplingParams by which `token_id` is excluded after `prompt` and `output`: "sequence_biases" or
// "no_repeat_ngram_size"; null: none excludes it. It agrees with LogitsProcessor::banned(), without the bans of
// min_tokens. Time: O(tokens looked at * no_repeat_ngram_size), and the sequence biases.
const char* BannedBy(const SamplingParams& params, std::span<const TokenId> prompt, std::span<const TokenId> output,
                     TokenId token_id);

}  // namespace logitd

#endif  // LOGITD_CORE_HISTORY_BANS_H_
