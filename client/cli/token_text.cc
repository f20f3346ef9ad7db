#include "client/cli/token_text.h"

#include <locale.h>
#include <wchar.h>

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

// The columns of a character as the C library's Unicode tables have them: 2 for East Asian wide characters and emoji, 0
// for combining marks. A character that the library does not know takes one.
int ColumnsOf(uint32_t c) {
  if (c < 0x7F) return 1;
  // wcwidth asks the locale of the thread, and the program's own is "C": there only ASCII has a width.
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8 == nullptr) return 1;
  const locale_t before = uselocale(utf8);
  const int columns = wcwidth(static_cast<wchar_t>(c));
  uselocale(before);
  return columns < 0 ? 1 : columns;
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

std::string FirstColumns(std::string_view text, int width) {
  std::string out;
  int columns = 0;
  while (!text.empty()) {
    const CodePoint c = Decode(text);
    const int size = c.size == 0 ? 1 : c.size;
    const int wide = c.size == 0 ? 1 : ColumnsOf(c.value);
    if (columns + wide > width) break;
    out += text.substr(0, size);
    columns += wide;
    text.remove_prefix(size);
  }
  return out;
}

std::string Shorten(std::string_view text, int width) {
  return DisplayWidth(text) <= width ? std::string(text) : FirstColumns(text, width - 1) + "…";
}

}  // namespace logitd::cli
