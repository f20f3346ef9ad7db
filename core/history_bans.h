// Which tokens the tokens so far exclude, whatever the row: bad words, and n-grams that may not repeat.
#ifndef LOGITD_CORE_HISTORY_BANS_H_
#define LOGITD_CORE_HISTORY_BANS_H_

#include <span>

#include "core/sampling_params.h"
#include "core/types.h"

namespace logitd {

// The field of SamplingParams by which `token_id` is excluded after `prompt` and `output`: "sequence_biases" or
// "no_repeat_ngram_size"; null: by none. It says of one token what LogitsProcessor::banned() says of all, those of
// min_tokens left out. Time: O(tokens looked at * no_repeat_ngram_size), and the sequence biases.
const char* BannedBy(const SamplingParams& params, std::span<const TokenId> prompt, std::span<const TokenId> output,
                     TokenId token_id);

}  // namespace logitd

#endif  // LOGITD_CORE_HISTORY_BANS_H_
