// Facts about the tokens in llama.cpp's vocabulary, and how its tokenizer treats texts.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_VOCABULARY_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_VOCABULARY_H_

#include <string>

#include "core/types.h"
#include "llama.h"
#include "logitd/v1/logits.pb.h"

namespace logitd::runner {

// The bytes that a token stands for. A control token stands for none, or for its name if `render_special_tokens`.
std::string TokenPiece(const llama_vocab* vocab, TokenId token_id, bool render_special_tokens);

// The bytes of every token, the names of control tokens, and the kind of each token.
v1::Vocabulary VocabularyOf(const llama_vocab* vocab);

// RunnerCapabilities.tokens_spell_text. `vocabulary`: from VocabularyOf.
bool TokensSpellText(const llama_vocab* vocab, const v1::Vocabulary& vocabulary);

// Whether the tokenizer puts a space before every text, as SentencePiece does.
bool AddsSpacePrefix(const llama_vocab* vocab);

// Whether the file does not say how texts are split before merging. llama.cpp then uses its default.
bool GuessesPreTokenizer(const llama_model* model);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_VOCABULARY_H_
