// Log-probs in the form of OpenAI's chat completions:
//
//   {"content": [{"token": " Paris", "logprob": -0.25, "bytes": [32, 80, 97, 114, 105, 115],
//                 "top_logprobs": [{"token": " Paris", "logprob": -0.25, "bytes": [32, 80, 97, 114, 105, 115]}]}],
//    "refusal": null}
//
// - `token` is written as in completions (token_texts.h). `bytes` are the token's exact bytes, null if it has none.
// - `top_logprobs` has the most likely tokens, most likely first: no more than were asked for, so the token itself may
//   be missing. Tokens of probability zero are left out. Where the token itself is there, its number is the same
//   double.
// - A number that does not exist is null.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_HTTP_CHAT_LOGPROBS_H_
#define LOGITD_CLIENT_HTTP_CHAT_LOGPROBS_H_

#include <span>
#include <string>

#include "client/http/token_texts.h"
#include "logitd/v1/completion.pb.h"

namespace logitd::http {

// An entry of `content`.
std::string ChatLogprob(const v1::TokenRecord& record, int top_n, const TokenTexts& texts);
// The whole object.
std::string ChatLogprobs(std::span<const v1::TokenRecord* const> records, int top_n, const TokenTexts& texts);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CHAT_LOGPROBS_H_
