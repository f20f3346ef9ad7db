// Bytes of tokens -> UTF-8 text for messages, which may hold nothing else.
#ifndef LOGITD_SERVER_CONVERTERS_TEXT_H_
#define LOGITD_SERVER_CONVERTERS_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace logitd::server {

bool IsUtf8(std::string_view bytes);
// Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a character. Pieces that were cut at
// CompletePrefix give the same text as the whole.
std::string ToUtf8(std::string_view bytes);
// Number of Unicode code points; unset if `bytes` is not UTF-8.
std::optional<int64_t> CountCharacters(std::string_view bytes);
// Length of the longest prefix that does not end within a character (bytes that can never become UTF-8 count as
// complete): what may be sent of a text that still grows.
size_t CompletePrefix(std::string_view bytes);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_TEXT_H_
