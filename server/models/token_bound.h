// How many tokens a text has at least, told without the tokenizer.
//
//   RETURN_IF_ERROR(CheckTextFits("prompt.text", SizeOf(text), options, *model, model->description().context_length));
//
// A token has at most the bytes of the vocabulary's longest one, so `bytes` bytes of text need at least
// ceil(bytes / longest) tokens. Four-token example: with the tokens "a", "b", "ab", "abba" a text of 9 bytes has at
// least 3 tokens, whichever they are. That holds only where tokens spell the text
// (RunnerCapabilities.tokens_spell_text), and not with parse_special_tokens: a control token has a name in the text and
// no bytes, and some tokenizers take the spaces around it away. Elsewhere nothing is proven, and the tokenizer counts.
//
// SentencePiece writes a space as U+2581 within, and so takes a U+2581 in a text, three bytes, for a space, one. Each
// counts as one byte here: U+2581 "ab" has at least 3 bytes, one token ("▁ab") may spell them.
#ifndef LOGITD_SERVER_MODELS_TOKEN_BOUND_H_
#define LOGITD_SERVER_MODELS_TOKEN_BOUND_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "core/vocabulary.h"
#include "server/models/model_description.h"
#include "server/models/served_model.h"
#include "server/models/tokenization.h"

namespace logitd::server {

// Of a text, or of texts that become one.
struct TextSize {
  int64_t bytes = 0;
  // What its tokens spell has at least so many: a U+2581 counts as one.
  int64_t spelled_bytes = 0;

  TextSize operator+(const TextSize& other) const { return {bytes + other.bytes, spelled_bytes + other.spelled_bytes}; }
};

// REQUIRES: `text` is UTF-8, as fields of messages are: no character lies on both sides of a join.
TextSize SizeOf(std::string_view text);

// At least so many tokens; 0 where nothing is proven. Without special tokens around the text.
int64_t LeastTokens(int64_t spelled_bytes, const TokenizationOptions& options, const RunnerCapabilities& capabilities,
                    const Vocabulary& vocabulary);

// Before a text is tokenised: it may fit into `bound` tokens.
// Errors: CONTEXT_LENGTH_EXCEEDED, with the proven minimum.
absl::Status CheckTextFits(std::string_view field, const TextSize& size, const TokenizationOptions& options,
                           const ServedModel& model, int64_t bound);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TOKEN_BOUND_H_
