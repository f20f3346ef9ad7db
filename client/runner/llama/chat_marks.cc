#include "client/runner/llama/chat_marks.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace logitd::runner {
namespace {

bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

bool LooksLikeMark(std::string_view name) {
  if (name.size() < 3) return false;
  return (name.front() == '<' && name.back() == '>') || (name.front() == '[' && name.back() == ']');
}

// Whether the template wrote all of [begin, end).
bool IsWritten(const std::vector<ChatText::Span>& written, size_t begin, size_t end) {
  auto after = std::upper_bound(written.begin(), written.end(), begin,
                                [](size_t at, const ChatText::Span& span) { return at < span.begin; });
  return after != written.begin() && std::prev(after)->end >= end;
}

}  // namespace

ChatMarks::ChatMarks(const llama_vocab* vocab, std::string_view template_source) {
  const int32_t count = llama_vocab_n_tokens(vocab);
  for (TokenId id = 0; id < count; ++id) {
    const llama_token_attr attributes = llama_vocab_get_attr(vocab, id);
    const bool is_control = (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0;
    const bool is_user_defined = !is_control && (attributes & LLAMA_TOKEN_ATTR_USER_DEFINED) != 0;
    if (!is_control && !is_user_defined) continue;
    const char* name = llama_vocab_get_text(vocab, id);
    if (name == nullptr || *name == '\0') continue;
    Mark mark{id, name};
    if (is_user_defined && !(LooksLikeMark(mark.name) && template_source.find(mark.name) != std::string_view::npos)) {
      continue;
    }
    mark.strips_left = (attributes & LLAMA_TOKEN_ATTR_LSTRIP) != 0;
    mark.strips_right = (attributes & LLAMA_TOKEN_ATTR_RSTRIP) != 0;
    mark.is_user_defined = is_user_defined;
    marks_.push_back(std::move(mark));
  }
  std::stable_sort(marks_.begin(), marks_.end(),
                   [](const Mark& a, const Mark& b) { return a.name.size() > b.name.size(); });
}

std::vector<ChatMarks::Piece> ChatMarks::Split(const ChatText& text) const {
  const std::string_view all = text.text;
  std::vector<Piece> pieces;
  if (!all.empty()) pieces.push_back({kNoMark, all});
  // Most of a vocabulary's marks are nowhere in the text.
  for (const Mark& mark : marks_) {
    if (all.find(mark.name) == std::string_view::npos) continue;
    std::vector<Piece> next;
    for (const Piece& piece : pieces) {
      if (piece.mark != kNoMark) {
        next.push_back(piece);
        continue;
      }
      std::string_view rest = piece.text;
      size_t from = 0;
      while (true) {
        const size_t at = rest.find(mark.name, from);
        if (at == std::string_view::npos) break;
        const auto begin = static_cast<size_t>(rest.data() - all.data()) + at;
        if (!IsWritten(text.written, begin, begin + mark.name.size())) {
          if (mark.is_user_defined) {
            next.push_back({kNoMark, rest.substr(0, at + 1)});
            rest.remove_prefix(at + 1);
            from = 0;
          } else {
            from = at + 1;
          }
          continue;
        }
        std::string_view left = rest.substr(0, at);
        while (mark.strips_left && !left.empty() && IsSpace(left.back())) left.remove_suffix(1);
        if (!left.empty()) next.push_back({kNoMark, left});
        next.push_back({mark.id, rest.substr(at, mark.name.size())});
        rest.remove_prefix(at + mark.name.size());
        while (mark.strips_right && !rest.empty() && IsSpace(rest.front())) rest.remove_prefix(1);
        from = 0;
      }
      if (!rest.empty()) next.push_back({kNoMark, rest});
    }
    pieces = std::move(next);
  }
  return pieces;
}

std::string ChatMarks::WithoutMarks(std::string text) const {
  for (const Mark& mark : marks_) {
    for (size_t at = text.find(mark.name); at != std::string::npos; at = text.find(mark.name, at + mark.name.size())) {
      text.replace(at, mark.name.size(), mark.name.size(), 'x');
    }
  }
  return text;
}

}  // namespace logitd::runner
