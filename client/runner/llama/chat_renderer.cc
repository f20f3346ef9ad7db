#include "client/runner/llama/chat_renderer.h"

#include <cstdio>
#include <ctime>
#include <stdexcept>
#include <utility>

#include "base/status_macros.h"
#include "client/runner/llama/special_tokens.h"
#include "core/errors.h"

namespace logitd::runner {
namespace {

std::string NameOf(const llama_vocab* vocab, const std::optional<TokenId>& id) {
  const char* name = id ? llama_vocab_get_text(vocab, *id) : nullptr;
  return name == nullptr ? "" : name;
}

std::vector<TokenId> TokensOfText(const llama_vocab* vocab, std::string_view text) {
  std::vector<llama_token> ids(text.size() + 8);
  for (int attempt = 0; attempt < 2; ++attempt) {
    const int32_t count =
        llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), ids.data(),
                       static_cast<int32_t>(ids.size()), /*add_special=*/false, /*parse_special=*/false);
    if (count >= 0) {
      ids.resize(static_cast<size_t>(count));
      return ids;
    }
    ids.resize(static_cast<size_t>(-static_cast<int64_t>(count)));
  }
  throw std::runtime_error("llama_tokenize failed");
}

std::vector<TokenId> MarksOf(const std::vector<ChatMarks::Piece>& pieces) {
  std::vector<TokenId> marks;
  for (const ChatMarks::Piece& piece : pieces) {
    if (piece.mark != ChatMarks::kNoMark) marks.push_back(piece.mark);
  }
  return marks;
}

}  // namespace

ChatRenderer::ChatRenderer(const llama_vocab* vocab, ChatTemplate chat_template)
    : vocab_(vocab), template_(std::move(chat_template)), marks_(vocab, template_.source()) {}

std::unique_ptr<ChatRenderer> ChatRenderer::Of(const llama_model* model, const std::string& path) {
  const char* source = llama_model_chat_template(model, /*name=*/nullptr);
  if (source == nullptr || *source == '\0') return nullptr;
  const llama_vocab* vocab = llama_model_get_vocab(model);
  const SpecialTokens special = ReadSpecialTokens(model, path);
  absl::StatusOr<ChatTemplate> parsed =
      ChatTemplate::Parse(source, NameOf(vocab, special.bos), NameOf(vocab, special.eos));
  if (!parsed.ok()) {
    std::fprintf(stderr, "logitd-llama: the chat template of %s is not understood, so it is not offered: %s\n",
                 path.c_str(), std::string(parsed.status().message()).c_str());
    return nullptr;
  }
  return std::make_unique<ChatRenderer>(vocab, *std::move(parsed));
}

absl::StatusOr<v1::RenderChatResult> ChatRenderer::Render(const v1::Chat& chat) const {
  const std::time_t now = std::time(nullptr);
  ASSIGN_OR_RETURN(ChatText text, template_.Render(chat, now));
  RETURN_IF_ERROR(CheckMessagesStayText(chat, text, now));
  v1::RenderChatResult result;
  for (const ChatMarks::Piece& piece : marks_.Split(text)) {
    if (piece.mark != ChatMarks::kNoMark) {
      result.add_token_ids(piece.mark);
    } else {
      const std::vector<TokenId> ids = TokensOfText(vocab_, piece.text);
      result.mutable_token_ids()->Add(ids.begin(), ids.end());
    }
  }
  result.set_text(std::move(text.text));
  return result;
}

absl::Status ChatRenderer::CheckMessagesStayText(const v1::Chat& chat, const ChatText& text, std::time_t now) const {
  // A template may change a message in a way that hides from the engine who said it. It then writes a mark fewer when
  // the message has other letters in the place of the mark's name.
  v1::Chat harmless = chat;
  bool names_marks = false;
  const auto remove = [&](std::string& said) {
    std::string without = marks_.WithoutMarks(said);
    names_marks |= without != said;
    said = std::move(without);
  };
  for (v1::ChatMessage& message : *harmless.mutable_messages()) {
    remove(*message.mutable_content());
    remove(*message.mutable_name());
  }
  for (v1::TemplateArgument& argument : *harmless.mutable_template_arguments()) {
    if (argument.has_string_value()) remove(*argument.mutable_string_value());
  }
  if (!names_marks) return absl::OkStatus();
  ASSIGN_OR_RETURN(const ChatText other, template_.Render(harmless, now));
  if (MarksOf(marks_.Split(text)) == MarksOf(marks_.Split(other))) return absl::OkStatus();
  return errors::ChatTemplateFailed(
      "chat", "a message names a control token, and the template would make that token of it");
}

}  // namespace logitd::runner
