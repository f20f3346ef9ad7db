// How many tokens a text has at least, told without the tokenizer.
//
//   RETURN_IF_ERROR(CheckTextFits("prompt.text", text, options, *model, model->description().context_length));
//
// A token has at most the bytes of the vocabulary's longest one, so `bytes` bytes of text need at least
// ceil(bytes / longest) tokens. Four-token example: with the tokens "a", "b", "ab", "abba" a text of 9 bytes has at
// least 3 tokens, whichever they are. That holds only where tokens spell the text
// (RunnerCapabilities.tokens_spell_text), and not with parse_special_tokens: a control token has a name in the text and
// no bytes, and some tokenizers take the spaces around it away. Elsewhere nothing is proven, and the tokenizer counts.
#ifndef LOGITD_SERVER_MODELS_TOKEN_BOUND_H_
#define LOGITD_SERVER_MODELS_TOKEN_BOUND_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "server/models/served_model.h"
#include "server/models/work.h"

namespace logitd::server {

// At least so many tokens; 0 where nothing is proven. Without special tokens around the text.
int64_t LeastTokens(int64_t text_bytes, const TokenizationOptions& options, const RunnerCapabilities& capabilities,
                    const Vocabulary& vocabulary);

// Before a text is tokenised: it may fit into `bound` tokens. `text_bytes` may be the sum of texts that become one.
// Errors: CONTEXT_LENGTH_EXCEEDED, with the proven minimum.
absl::Status CheckTextFits(std::string_view field, int64_t text_bytes, const TokenizationOptions& options,
                           const ServedModel& model, int64_t bound);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TOKEN_BOUND_H_
