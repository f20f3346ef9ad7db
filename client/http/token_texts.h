// Tokens as text.
//
//   a token of text                          its text: " capital"
//   one whose bytes are not UTF-8            "bytes:\xe2\x82", in the form of OpenAI's completions: two tokens that
//                                            are parts of characters differ
//   a control token                          its name: "<|im_end|>"
//   a token with neither, or any if
//   return_tokens_as_token_ids is set        "token_id:17"
//
// Thread-safe once made.
#ifndef LOGITD_CLIENT_HTTP_TOKEN_TEXTS_H_
#define LOGITD_CLIENT_HTTP_TOKEN_TEXTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "client/http/model_facts.h"

namespace logitd::http {

class TokenTexts {
 public:
  TokenTexts(std::shared_ptr<const TokenNames> names, bool as_token_ids)
      : names_(std::move(names)), as_token_ids_(as_token_ids) {}

  // `bytes`: TokenRecord.token_bytes.
  std::string TextOf(int32_t token_id, std::string_view bytes) const;
  // The bytes of a prompt's token in the prompt's text: a control token is written by its name.
  std::string_view BytesInPrompt(int32_t token_id, std::string_view bytes) const;

 private:
  const std::shared_ptr<const TokenNames> names_;
  const bool as_token_ids_;
};

// Where tokens begin in a text, in characters (code points). A token that begins within a character has the offset of
// that character.
class TextOffsets {
 public:
  // `skipped_bytes`: bytes at the beginning of the first tokens that are not in the text.
  explicit TextOffsets(size_t skipped_bytes = 0) : skipped_bytes_(skipped_bytes) {}

  // The offset of the next token, whose bytes these are.
  int64_t Next(std::string_view bytes);
  // The text ends here; another one follows it. A character that is not complete becomes U+FFFD.
  void EndText();

 private:
  size_t skipped_bytes_;
  // Bytes of a character that is not complete.
  std::string open_;
  int64_t characters_ = 0;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_TOKEN_TEXTS_H_
