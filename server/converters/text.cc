#include "server/converters/text.h"

namespace logitd::server {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The first unit of a text: a character, or a maximal part of one, which is replaced as a whole (Unicode 15, section
// 3.9, table 3-7). What a unit is depends on nothing before it, so a text can be converted piece by piece.
struct Unit {
  size_t length = 1;
  bool is_character = false;
  // It ends with the text, and more bytes could make it a character.
  bool may_grow = false;
};

Unit FirstUnit(std::string_view bytes) {
  const auto byte = [bytes](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  const size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                        : lead >= 0xE0 && lead <= 0xEF ? 3
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                       : 0;
  if (length == 0) return {1, false, false};
  // The second byte leaves out overlong forms, surrogates and what is above U+10FFFF.
  const unsigned char lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, false, true};
    const bool fits = i == 1 ? byte(i) >= lowest && byte(i) <= highest : (byte(i) & 0xC0) == 0x80;
    if (!fits) return {i, false, false};
  }
  return {length, true, false};
}

}  // namespace

bool IsUtf8(std::string_view bytes) { return CountCharacters(bytes).has_value(); }

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const Unit unit = FirstUnit(bytes);
    text += unit.is_character ? bytes.substr(0, unit.length) : kReplacement;
    bytes.remove_prefix(unit.length);
  }
  return text;
}

std::optional<int64_t> CountCharacters(std::string_view bytes) {
  int64_t count = 0;
  while (!bytes.empty()) {
    const Unit unit = FirstUnit(bytes);
    if (!unit.is_character) return std::nullopt;
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

}  // namespace logitd::server
