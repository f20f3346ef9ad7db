#include "client/cli/token_text.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace logitd::cli {
namespace {

struct CodePoint {
  uint32_t value = 0;
  // Bytes it takes; 0: the bytes here are not UTF-8.
  int size = 0;
};

// The first character of `bytes`. REQUIRES: not empty.
CodePoint Decode(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  int size = 0;
  uint32_t value = 0;
  uint32_t least = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    size = 2, value = lead & 0x1F, least = 0x80;
  } else if ((lead & 0xF0) == 0xE0) {
    size = 3, value = lead & 0x0F, least = 0x800;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    size = 4, value = lead & 0x07, least = 0x10000;
  } else {
    return {};
  }
  if (bytes.size() < static_cast<size_t>(size)) return {};
  for (int i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = (value << 6) | (byte(i) & 0x3F);
  }
  if (value < least || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return {};
  return {value, size};
}

// A close approximation of Unicode's East_Asian_Width and of combining marks; a wrong column misaligns one row of a
// table and nothing else.
int ColumnsOf(uint32_t c) {
  const auto in = [c](uint32_t first, uint32_t last) { return c >= first && c <= last; };
  if (in(0x300, 0x36F) || in(0x200B, 0x200F) || in(0x20D0, 0x20FF) || in(0xFE00, 0xFE0F) || c == 0xFEFF) return 0;
  if (in(0x1100, 0x115F) || in(0x2E80, 0x303E) || in(0x3041, 0xA4CF) || in(0xAC00, 0xD7A3) || in(0xF900, 0xFAFF) ||
      in(0xFE30, 0xFE6F) || in(0xFF00, 0xFF60) || in(0xFFE0, 0xFFE6) || in(0x1F300, 0x1F64F) || in(0x1F680, 0x1F6FF) ||
      in(0x1F900, 0x1F9FF) || in(0x20000, 0x3FFFD)) {
    return 2;
  }
  return 1;
}

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned>(static_cast<uint8_t>(c)));
  return out;
}

std::string Escape(std::string_view bytes, bool keep_layout) {
  std::string out;
  while (!bytes.empty()) {
    const CodePoint c = Decode(bytes);
    const int size = c.size == 0 ? 1 : c.size;
    const std::string_view piece = bytes.substr(0, size);
    if (c.size == 0) {
      out += Hex(piece);
    } else if (keep_layout && (c.value == '\n' || c.value == '\t' || c.value == '\\')) {
      out += piece;
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (c.value == '\r') {
      out += "\\r";
    } else if (c.value == '\\') {
      out += "\\\\";
    } else if (c.value < 0x20 || (c.value >= 0x7F && c.value <= 0x9F)) {
      out += Hex(piece);
    } else {
      out += piece;
    }
    bytes.remove_prefix(size);
  }
  return out;
}

}  // namespace

bool IsUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const CodePoint c = Decode(bytes);
    if (c.size == 0) return false;
    bytes.remove_prefix(c.size);
  }
  return true;
}

std::string EscapeText(std::string_view bytes) { return Escape(bytes, /*keep_layout=*/false); }

std::string SanitizeForTerminal(std::string_view bytes) { return Escape(bytes, /*keep_layout=*/true); }

std::string ShowToken(std::string_view token_bytes) {
  return token_bytes.empty() ? "(control)" : absl::StrCat("\"", EscapeText(token_bytes), "\"");
}

int DisplayWidth(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const CodePoint c = Decode(text);
    columns += c.size == 0 ? 1 : ColumnsOf(c.value);
    text.remove_prefix(c.size == 0 ? 1 : c.size);
  }
  return columns;
}

std::string Shorten(std::string_view text, int width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  std::string out;
  int columns = 0;
  while (!text.empty()) {
    const CodePoint c = Decode(text);
    const int size = c.size == 0 ? 1 : c.size;
    const int wide = c.size == 0 ? 1 : ColumnsOf(c.value);
    if (columns + wide > width - 1) break;
    out += text.substr(0, size);
    columns += wide;
    text.remove_prefix(size);
  }
  return out + "…";
}

}  // namespace logitd::cli
