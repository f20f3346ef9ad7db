// Tokenises a text that continues another one, with a tokenizer that only knows beginnings.
//
// SentencePiece tokenizers put a space before a text, and llama.cpp cannot be told to leave it out. It is therefore
// given a lead followed by the text, and the tokens of the lead are removed. No token may reach from the lead into the
// text, which the tokens' bytes tell:
//
//   lead ".", text "ab"    tokens [▁.] [ab]   ->   [ab]
//                          tokens [▁.a] [b]   ->   another lead
//
// If no token does, no merge has crossed the border (merges are never undone), and the best path through the border is
// the best path on each side of it. The rest then are the text's tokens after anything that ends at that border.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CONTINUING_TEXT_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CONTINUING_TEXT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/types.h"

namespace logitd::runner {

// `tokenize`: tokenises a text and adds only what the tokenizer puts before every text. `piece`: the bytes that a token
// spells in a text that the tokenizer reads. Returns the tokens of the text by itself if no lead works because the
// tokenizer changes all of them. Calls `tokenize` once if it puts nothing before the text, else usually three times.
// Errors: those of `tokenize`.
absl::StatusOr<std::vector<TokenId>> TokenizeContinuing(
    const std::string& text, const std::function<absl::StatusOr<std::vector<TokenId>>(const std::string&)>& tokenize,
    const std::function<std::string(TokenId)>& piece);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CONTINUING_TEXT_H_
