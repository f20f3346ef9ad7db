// A model's chat template, rendered by llama.cpp's template engine.
//
//   ASSIGN_OR_RETURN(ChatTemplate chat_template, ChatTemplate::Parse(source, "<s>", "</s>"));
//   ASSIGN_OR_RETURN(ChatText text, chat_template.Render(chat));
//
// A template gets the variables that transformers gives it: messages, add_generation_prompt, bos_token, eos_token, and
// tools and documents, which are none. The engine keeps apart what the template wrote and what the messages said.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CHAT_TEMPLATE_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CHAT_TEMPLATE_H_

#include <cstddef>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "logitd/v1/chat.pb.h"

namespace logitd::runner {

// A rendered conversation.
struct ChatText {
  struct Span {
    size_t begin = 0;
    size_t end = 0;
  };

  std::string text;
  // The bytes of `text` that the template wrote, ascending and not touching each other. The conversation said the rest.
  std::vector<Span> written;
};

class ChatTemplate {
 public:
  // `bos_token`, `eos_token`: the names of these tokens; empty: there are none.
  // Errors: INVALID_ARGUMENT with one line for people, if the engine does not understand the template.
  static absl::StatusOr<ChatTemplate> Parse(const std::string& source, std::string bos_token, std::string eos_token);

  ChatTemplate(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  const std::string& source() const { return source_; }
  // The template reads the content of a message as a list of parts, and not as a text.
  bool wants_parts() const { return wants_parts_; }

  // `now`: the time of day, for templates that print it.
  // Errors: CHAT_TEMPLATE_FAILED with the template's own words; LIMIT_EXCEEDED (max_text_bytes).
  absl::StatusOr<ChatText> Render(const v1::Chat& chat, std::time_t now) const;

 private:
  struct Program;

  ChatTemplate();

  std::string source_;
  std::string bos_token_;
  std::string eos_token_;
  bool wants_parts_ = false;
  std::unique_ptr<Program> program_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CHAT_TEMPLATE_H_
