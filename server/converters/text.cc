#include "server/converters/text.h"

#include <utf8.h>

#include <iterator>

namespace logitd::server {

bool IsUtf8(std::string_view bytes) { return utf8::is_valid(bytes.begin(), bytes.end()); }

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  utf8::replace_invalid(bytes.begin(), bytes.end(), std::back_inserter(text));
  return text;
}

std::optional<int64_t> CountCharacters(std::string_view bytes) {
  if (!IsUtf8(bytes)) return std::nullopt;
  return utf8::unchecked::distance(bytes.begin(), bytes.end());
}

size_t CompletePrefix(std::string_view bytes) {
  // Only the last three bytes can be the beginning of a character that is not yet whole.
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? bytes.size() - back : bytes.size();
  }
  return bytes.size();
}

}  // namespace logitd::server
