// The prompt as the reply repeats it: its text, and where its tokens begin in it.
//
// - A prompt of text is repeated as it came, if its tokens spell it; SentencePiece's space before a text does not
//   count. Otherwise the text is that of the tokens.
// - A BOS that the server has put before a text is no token of the text: it is in prompt_token_ids and
//   prompt_logprobs, but not in the lists of `logprobs`. A client that counts the text's own tokens finds them at
//   their places.
#ifndef LOGITD_CLIENT_HTTP_PROMPT_ECHO_H_
#define LOGITD_CLIENT_HTTP_PROMPT_ECHO_H_

#include <cstdint>
#include <optional>
#include <string>

#include "client/http/token_texts.h"
#include "logitd/v1/generation_service.pb.h"

namespace logitd::http {

struct PromptEcho {
  std::string text;
  // Tokens of the prompt that are not in the lists: 0 or 1.
  int added_count = 0;
  // Bytes at the beginning of the tokens that are not in the text.
  size_t skipped_bytes = 0;
};

// `tokens`: the prompt's records. `bos_token_id`: of the model, if the server puts it before texts. Unset: it does not.
PromptEcho EchoOf(const v1::Input& prompt, const v1::ScoredPrompt& tokens, std::optional<int32_t> bos_token_id,
                  const TokenTexts& texts);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_PROMPT_ECHO_H_
