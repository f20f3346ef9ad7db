// The tokens of a text that goes on after another one, from a tokenizer that always begins a text.
//
// SentencePiece tokenizers put a space before a text, and llama.cpp cannot be told to leave it out. So it gets a text
// that goes on: a lead, then the text, and the lead's tokens are taken away again. No token may reach from one to the
// other, which the bytes tell:
//
//   lead ".", text "ab"    tokens [▁.] [ab]   ->   [ab]
//                          tokens [▁.a] [b]   ->   another lead
//
// Then no merge has crossed the border (a merge is never undone), and the best path through a border is the best on
// each side of it: these are the text's tokens after anything that ends there.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CONTINUING_TEXT_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CONTINUING_TEXT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/types.h"

namespace logitd::runner {

// `tokenize`: makes tokens of a text, nothing added but what it puts before every text. `piece`: what a token spells in
// a text that it reads. Where no lead works (a tokenizer that changes every one of them), the tokens of the text by
// itself. Calls `tokenize` once if it puts nothing before the text, else mostly three times. Errors: those of
// `tokenize`.
absl::StatusOr<std::vector<TokenId>> TokenizeContinuing(
    const std::string& text, const std::function<absl::StatusOr<std::vector<TokenId>>(const std::string&)>& tokenize,
    const std::function<std::string(TokenId)>& piece);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CONTINUING_TEXT_H_
