#include "client/http/prompt_echo.h"

#include "base/utf8.h"

namespace logitd::http {

PromptEcho EchoOf(const v1::Input& prompt, const v1::ScoredPrompt& tokens, std::optional<int32_t> bos_token_id,
                  const TokenTexts& texts) {
  PromptEcho echo;
  const bool is_text = prompt.input_case() == v1::Input::kText;
  if (is_text && bos_token_id && tokens.tokens_size() > 0 && tokens.tokens(0).token_id() == *bos_token_id) {
    echo.added_count = 1;
  }
  std::string bytes;
  for (int i = echo.added_count; i < tokens.tokens_size(); ++i) {
    bytes += texts.BytesInPrompt(tokens.tokens(i).token_id(), tokens.tokens(i).token_bytes());
  }
  if (is_text && bytes == " " + prompt.text()) {
    echo.skipped_bytes = 1;
    echo.text = prompt.text();
  } else {
    echo.text = ToUtf8(bytes);
  }
  return echo;
}

}  // namespace logitd::http
