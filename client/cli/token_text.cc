#include "client/cli/token_text.h"

#include <locale.h>
#include <wchar.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/utf8.h"

namespace logitd::cli {
namespace {

// A character, or one byte that is part of none.
Utf8Unit NextUnit(std::string_view bytes) {
  const Utf8Unit unit = FirstUnit(bytes);
  return unit.code_point ? unit : Utf8Unit{};
}

// The columns of a character as the C library's Unicode tables have them: 2 for East Asian wide characters and emoji, 0
// for combining marks. A character that the library does not know takes one.
int ColumnsOf(const Utf8Unit& unit) {
  const uint32_t c = unit.code_point.value_or(0);
  if (c < 0x7F) return 1;
  // wcwidth uses the locale of the thread. The program's own is "C", where only ASCII has a width.
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
    const Utf8Unit unit = NextUnit(bytes);
    const uint32_t c = unit.code_point.value_or(0);
    const std::string_view piece = bytes.substr(0, unit.length);
    if (!unit.code_point) {
      out += Hex(piece);
    } else if (keep_layout && (c == '\n' || c == '\t' || c == '\\')) {
      out += piece;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\\') {
      out += "\\\\";
    } else if (c < 0x20 || (c >= 0x7F && c <= 0x9F)) {
      out += Hex(piece);
    } else {
      out += piece;
    }
    bytes.remove_prefix(unit.length);
  }
  return out;
}

}  // namespace

std::string EscapeText(std::string_view bytes) { return Escape(bytes, /*keep_layout=*/false); }

std::string SanitizeForTerminal(std::string_view bytes) { return Escape(bytes, /*keep_layout=*/true); }

std::string ShowToken(std::string_view token_bytes) {
  return token_bytes.empty() ? "(control)" : absl::StrCat("\"", EscapeText(token_bytes), "\"");
}

int DisplayWidth(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const Utf8Unit unit = NextUnit(text);
    columns += ColumnsOf(unit);
    text.remove_prefix(unit.length);
  }
  return columns;
}

std::string FirstColumns(std::string_view text, int width) {
  std::string out;
  int columns = 0;
  while (!text.empty()) {
    const Utf8Unit unit = NextUnit(text);
    columns += ColumnsOf(unit);
    if (columns > width) break;
    out += text.substr(0, unit.length);
    text.remove_prefix(unit.length);
  }
  return out;
}

std::string Shorten(std::string_view text, int width) {
  return DisplayWidth(text) <= width ? std::string(text) : FirstColumns(text, width - 1) + "…";
}

}  // namespace logitd::cli
