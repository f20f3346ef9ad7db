// A conversation to token ids, by the rules of logitd.v1.ModelService.RenderChat.
//
//   std::unique_ptr<ChatRenderer> renderer = ChatRenderer::Of(model, "model.gguf");     // null: no usable template
//   ASSIGN_OR_RETURN(v1::RenderChatResult result, renderer->Render(chat));
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CHAT_RENDERER_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CHAT_RENDERER_H_

#include <ctime>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/runner/llama/chat_marks.h"
#include "client/runner/llama/chat_template.h"
#include "core/types.h"
#include "llama.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

// Not changed after construction; it may be used in a forked process.
class ChatRenderer {
 public:
  // REQUIRES: the vocabulary outlives this object.
  ChatRenderer(const llama_vocab* vocab, ChatTemplate chat_template);

  // Null: the file has no chat template, or one that the engine does not understand (a line on standard error says
  // why). `path`: the file that `model` was loaded from.
  static std::unique_ptr<ChatRenderer> Of(const llama_model* model, const std::string& path);

  // Sets `text` and `token_ids`. Errors: CHAT_TEMPLATE_FAILED, LIMIT_EXCEEDED; and std::exception of llama.cpp's
  // tokenizer.
  absl::StatusOr<v1::RenderChatResult> Render(const v1::Chat& chat) const;

 private:
  // Whether the same template writes other marks when the messages name none. OK: it does not.
  absl::Status CheckMessagesStayText(const v1::Chat& chat, const ChatText& text, std::time_t now) const;

  const llama_vocab* const vocab_;
  const ChatTemplate template_;
  const ChatMarks marks_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CHAT_RENDERER_H_
