#include "client/http/token_texts.h"

#include <algorithm>

#include "base/utf8.h"

namespace logitd::http {

std::string TokenTexts::TextOf(int32_t token_id, std::string_view bytes) const {
  if (!as_token_ids_ && !bytes.empty()) {
    if (IsUtf8(bytes)) return std::string(bytes);
    constexpr char kHex[] = "0123456789abcdef";
    std::string text = "bytes:";
    for (const char c : bytes) {
      text += "\\x";
      text += kHex[static_cast<unsigned char>(c) >> 4];
      text += kHex[static_cast<unsigned char>(c) & 15];
    }
    return text;
  }
  if (!as_token_ids_) {
    if (const auto name = names_->find(token_id); name != names_->end()) return name->second;
  }
  return "token_id:" + std::to_string(token_id);
}

std::string_view TokenTexts::BytesInPrompt(int32_t token_id, std::string_view bytes) const {
  if (!bytes.empty()) return bytes;
  const auto name = names_->find(token_id);
  return name == names_->end() ? std::string_view() : std::string_view(name->second);
}

int64_t TextOffsets::Next(std::string_view bytes) {
  int64_t offset = characters_;
  // Bytes in open_ that stand before this token.
  size_t earlier = open_.size();
  const size_t skipped = std::min(skipped_bytes_, bytes.size());
  skipped_bytes_ -= skipped;
  open_ += bytes.substr(skipped);
  while (!open_.empty()) {
    const Utf8Unit unit = FirstUnit(open_);
    if (unit.may_grow) break;
    open_.erase(0, unit.length);
    ++characters_;
    // This token does not complete the character, which is a U+FFFD before it.
    if (unit.length <= earlier) ++offset;
    earlier -= std::min(earlier, unit.length);
  }
  return offset;
}

void TextOffsets::EndText() {
  if (open_.empty()) return;
  open_.clear();
  ++characters_;
}

}  // namespace logitd::http
