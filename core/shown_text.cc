// A text is read unit by unit: a character, or a byte that is part of none. Each unit is shown as itself or escaped,
// and never in part:
//
//   text    a  \n    ESC      "    0xff    U+202E
//   shown   a  \n  \u{1b}    \"    \xff    \u{202e}
#include "core/shown_text.h"

#include <cstdint>
#include <cstdio>

#include "base/utf8.h"

namespace logitd {
namespace {

constexpr std::string_view kCut = "...";

// A character, or one byte that is part of none.
Utf8Unit NextUnit(std::string_view text) {
  const Utf8Unit unit = FirstUnit(text);
  return unit.code_point ? unit : Utf8Unit{};
}

bool IsHidden(uint32_t c) {
  const auto within = [c](uint32_t first, uint32_t last) { return c >= first && c <= last; };
  return c < 0x20 || within(0x7f, 0x9f) || within(0x200b, 0x200f) || within(0x2028, 0x202e) || within(0x2060, 0x206f) ||
         c == 0xfeff || within(0xfff9, 0xfffb) || within(0xe0000, 0xe007f);
}

std::string Shown(const Utf8Unit& unit, std::string_view bytes, bool in_quotes) {
  char escaped[16];
  if (!unit.code_point) {
    std::snprintf(escaped, sizeof(escaped), "\\x%02x", static_cast<unsigned char>(bytes[0]));
    return escaped;
  }
  switch (*unit.code_point) {
    case '\n':
      return "\\n";
    case '\t':
      return "\\t";
    case '\r':
      return "\\r";
    case '"':
      return in_quotes ? "\\\"" : "\"";
    case '\\':
      return in_quotes ? "\\\\" : "\\";
    default:
      break;
  }
  if (!IsHidden(*unit.code_point)) return std::string(bytes);
  std::snprintf(escaped, sizeof(escaped), "\\u{%x}", *unit.code_point);
  return escaped;
}

// An escape is ASCII; else a unit is one character.
size_t CharactersOf(std::string_view shown) { return shown[0] == '\\' ? shown.size() : 1; }

// 1234567 as "1,234,567".
std::string Grouped(size_t number) {
  std::string digits = std::to_string(number);
  for (size_t i = digits.size(); i > 3;) digits.insert(i -= 3, ",");
  return digits;
}

}  // namespace

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  size_t characters = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Unit unit = NextUnit(rest);
    const std::string shown = Shown(unit, rest.substr(0, unit.length), /*in_quotes=*/true);
    characters += CharactersOf(shown);
    if (characters > kMaxQuotedCharacters) {
      return out.append(kCut).append("\" (").append(Grouped(text.size())).append(" bytes)");
    }
    out += shown;
    rest.remove_prefix(unit.length);
  }
  return out + "\"";
}

std::string OnOneLine(std::string_view text, size_t max_bytes) {
  std::string out;
  // Where the text is cut if it turns out to be too long.
  size_t cut = 0;
  while (!text.empty()) {
    const Utf8Unit unit = NextUnit(text);
    out += Shown(unit, text.substr(0, unit.length), /*in_quotes=*/false);
    if (out.size() > max_bytes) return out.substr(0, cut).append(kCut);
    if (out.size() + kCut.size() <= max_bytes) cut = out.size();
    text.remove_prefix(unit.length);
  }
  return out;
}

}  // namespace logitd
