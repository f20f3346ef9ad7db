#include "base/utf8.h"

namespace logitd {

Utf8Unit FirstUnit(std::string_view bytes) {
  const auto byte = [bytes](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                        : lead >= 0xE0 && lead <= 0xEF ? 3
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                       : 0;
  if (length == 0) return {};
  // The second byte leaves out overlong forms, surrogates and code points above U+10FFFF.
  const unsigned char lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  uint32_t code_point = lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, std::nullopt, /*may_grow=*/true};
    const bool fits = i == 1 ? byte(i) >= lowest && byte(i) <= highest : (byte(i) & 0xC0) == 0x80;
    if (!fits) return {i};
    code_point = code_point << 6 | (byte(i) & 0x3fu);
  }
  return {length, code_point};
}

bool IsUtf8(std::string_view bytes) { return CountCharacters(bytes).has_value(); }

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Unit unit = FirstUnit(bytes);
    text += unit.code_point ? bytes.substr(0, unit.length) : "\xEF\xBF\xBD";
    bytes.remove_prefix(unit.length);
  }
  return text;
}

std::optional<int64_t> CountCharacters(std::string_view bytes) {
  int64_t count = 0;
  while (!bytes.empty()) {
    const Utf8Unit unit = FirstUnit(bytes);
    if (!unit.code_point) return std::nullopt;
    ++count;
    bytes.remove_prefix(unit.length);
  }
  return count;
}

size_t CompletePrefix(std::string_view bytes) {
  // A character has at most four bytes: only one that begins in the last three can still grow.
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    if (FirstUnit(bytes.substr(bytes.size() - back)).may_grow) return bytes.size() - back;
  }
  return bytes.size();
}

}  // namespace logitd
