// The lists of log-probs in OpenAI's completions:
//
//   {"tokens": ["The", " cat"], "token_logprobs": [null, -9.25], "top_logprobs": [null, {" end": -2.5, " cat": -9.25}],
//    "text_offset": [0, 3]}
//
// - A number that does not exist (of the first token of a prompt, of a token of probability zero) is null.
// - An entry of top_logprobs has the most likely tokens, most likely first, and then the token itself if it is not
//   among them: the same double as in token_logprobs. Tokens of probability zero are left out.
// - If two tokens of one entry have the same text, it stands for the more likely one.
//
// One thread.
#ifndef LOGITD_CLIENT_HTTP_LOGPROB_LISTS_H_
#define LOGITD_CLIENT_HTTP_LOGPROB_LISTS_H_

#include <cstdint>
#include <string>

#include "client/http/json_writer.h"
#include "client/http/token_texts.h"
#include "logitd/v1/completion.pb.h"

namespace logitd::http {

class LogprobLists {
 public:
  // `top_n`: alternatives in each entry. `texts` outlives this object.
  LogprobLists(const TokenTexts& texts, int top_n);

  void Add(const v1::TokenRecord& record, int64_t text_offset);
  // The object. Call it once.
  std::string Take();

 private:
  void AddTop(const v1::TokenRecord& record, const std::string& text);

  const TokenTexts& texts_;
  const int top_n_;
  JsonWriter tokens_, token_logprobs_, top_logprobs_, text_offset_;
};

// The log-prob of a record. Unset: it has none, or its probability is zero.
std::optional<double> LogProbOf(const v1::TokenRecord& record);

// A prompt's log-probs in vLLM's form, one entry for each token, null for the first:
//   {"398": {"logprob": -6.97, "rank": 4, "decoded_token": " capital"}, "413": {...}, ...}
// The prompt's own token comes first, then the `top_n` most likely ones, of which it may be one.
std::string PromptLogprobs(const v1::ScoredPrompt& prompt, int top_n, const TokenTexts& texts);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_LOGPROB_LISTS_H_
