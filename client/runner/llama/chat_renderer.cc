#include "client/runner/llama/chat_renderer.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <new>
#include <stdexcept>
#include <utility>

#include "base/status_macros.h"
#include "client/runner/llama/special_tokens.h"
#include "core/errors.h"

namespace logitd::runner {
namespace {

// What a template may take to be understood, which runs it a few times, and to render one conversation. Templates of
// published models take milliseconds and less than a megabyte.
constexpr rlim_t kTrialSeconds = 2;
constexpr int64_t kTemplateBytes = int64_t{512} << 20;
// The exit status of a trial that ran out of them.
constexpr int kNoMemory = 2;

// Bounds the process's memory to what it has now and kTemplateBytes more, as long as this object lives. std::bad_alloc
// then ends what needs more.
class MemoryBound {
 public:
  MemoryBound() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
      int64_t kilobytes = 0;
      if (word != "VmData:" || !(status >> kilobytes) || ::getrlimit(RLIMIT_DATA, &before_) != 0) continue;
      rlimit bound = before_;
      bound.rlim_cur = std::min<rlim_t>(before_.rlim_max, static_cast<rlim_t>(kilobytes * 1024 + kTemplateBytes));
      is_set_ = ::setrlimit(RLIMIT_DATA, &bound) == 0;
      return;
    }
  }
  ~MemoryBound() {
    if (is_set_) ::setrlimit(RLIMIT_DATA, &before_);
  }
  MemoryBound(const MemoryBound&) = delete;
  MemoryBound& operator=(const MemoryBound&) = delete;

 private:
  rlimit before_{};
  bool is_set_ = false;
};

// Parses the template within the limits, in a process of its own: a template of a hostile file may loop, or recurse
// without end. Errors: those of ChatTemplate::Parse, and what ended the process.
absl::Status Try(const std::string& source) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return absl::InternalError("no pipe to try it with");
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit seconds{kTrialSeconds, kTrialSeconds}, no_core{0, 0};
    ::setrlimit(RLIMIT_CPU, &seconds);
    ::setrlimit(RLIMIT_CORE, &no_core);
    const MemoryBound bound;
    // The engine catches std::bad_alloc while it tries what the template understands, and goes on.
    std::set_new_handler([] { ::_exit(kNoMemory); });
    const absl::Status parsed = ChatTemplate::Parse(source, "", "").status();
    (void)!::write(fds[1], parsed.message().data(), parsed.message().size());
    ::_exit(parsed.ok() ? 0 : 1);
  }
  ::close(fds[1]);
  char said[512];
  const ssize_t size = child < 0 ? 0 : ::read(fds[0], said, sizeof(said));
  ::close(fds[0]);
  if (child < 0) return absl::InternalError("no process to try it in");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return absl::ResourceExhaustedError("it takes too long, or too much of the stack");
  if (WEXITSTATUS(status) == 0) return absl::OkStatus();
  if (WEXITSTATUS(status) == kNoMemory) return absl::ResourceExhaustedError("it takes too much memory");
  return absl::InvalidArgumentError(std::string(said, static_cast<size_t>(std::max<ssize_t>(size, 0))));
}

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
  const auto parse = [&]() -> absl::StatusOr<ChatTemplate> {
    RETURN_IF_ERROR(Try(source));
    const MemoryBound bound;
    return ChatTemplate::Parse(source, NameOf(vocab, special.bos), NameOf(vocab, special.eos));
  };
  absl::StatusOr<ChatTemplate> parsed = parse();
  if (!parsed.ok()) {
    std::fprintf(stderr, "logitd-llama: the chat template of %s is not understood, so it is not offered: %s\n",
                 path.c_str(), std::string(parsed.status().message()).c_str());
    return nullptr;
  }
  return std::make_unique<ChatRenderer>(vocab, *std::move(parsed));
}

absl::StatusOr<v1::RenderChatResult> ChatRenderer::Render(const v1::Chat& chat) const {
  const std::time_t now = std::time(nullptr);
  ChatText text;
  {
    const MemoryBound bound;
    ASSIGN_OR_RETURN(text, template_.Render(chat, now));
    RETURN_IF_ERROR(CheckMessagesStayText(chat, text, now));
  }
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
  return errors::ChatTemplateFailed("chat",
                                    "a message names a control token, and the template would make that token of it");
}

}  // namespace logitd::runner
