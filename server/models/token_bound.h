// A lower bound for the number of tokens of a text, found without the tokenizer.
//
//   RETURN_IF_ERROR(CheckTextFits("prompt.text", SizeOf(text), options, *model, model->description().context_length));
//
// A token has at most as many bytes as the longest one of the vocabulary, so `bytes` bytes of text need at least
// ceil(bytes / longest) tokens. Example: with the tokens "a", "b", "ab", "abba" a text of 9 bytes has at least 3
// tokens.
//
// The bound holds only if tokens spell the text (RunnerCapabilities.tokens_spell_text), and not with
// parse_special_tokens: a control token has a name in the text and no bytes, and some tokenizers remove the spaces
// around it. In all other cases the bound is 0, and the tokenizer has to count.
//
// SentencePiece writes a space as U+2581 internally, and therefore reads a U+2581 of the text (three bytes) as a space
// (one byte). Each U+2581 counts as one byte here: U+2581 "ab" has at least 3 bytes, which one token ("▁ab") may spell.
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

// The size of a text, or of several texts that are joined.
struct TextSize {
  int64_t bytes = 0;
  // A lower bound for the bytes that its tokens spell: a U+2581 counts as one byte.
  int64_t spelled_bytes = 0;

  TextSize operator+(const TextSize& other) const { return {bytes + other.bytes, spelled_bytes + other.spelled_bytes}; }
};

// REQUIRES: `text` is UTF-8, as strings in messages are. No character then spans a join.
TextSize SizeOf(std::string_view text);

// The least number of tokens, without special tokens around the text. 0: nothing is proven.
int64_t LeastTokens(int64_t spelled_bytes, const TokenizationOptions& options, const RunnerCapabilities& capabilities,
                    const Vocabulary& vocabulary);

// Checks before tokenising that a text may fit into `bound` tokens.
// Errors: CONTEXT_LENGTH_EXCEEDED, with the proven minimum.
absl::Status CheckTextFits(std::string_view field, const TextSize& size, const TokenizationOptions& options,
                           const ServedModel& model, int64_t bound);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_TOKEN_BOUND_H_
