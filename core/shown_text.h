// Shows foreign text (of a client, a runner, a library) in messages, trailers and logs: short, on one line, in valid
// UTF-8 and harmless to a terminal.
//
//   "no model " + Quoted("llama\n") + " is known"       // no model "llama\n" is known
//   Quoted(std::string(100'000, 'a'))                   // "aaaa...aaaa..." (100,000 bytes)
//
// - Control characters become \n, \t, \r or \u{1b}. So do invisible characters and those that change the direction of
//   the text (U+200B to U+200F, U+2028 to U+202E, U+2060 to U+206F, U+FEFF, U+FFF9 to U+FFFB, U+E0000 to U+E007F).
// - Bytes that are not UTF-8 become \xff.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CORE_SHOWN_TEXT_H_
#define LOGITD_CORE_SHOWN_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace logitd {

// The most characters that Quoted shows, counted after escaping ("\n" is two). Enough for any real name, and short
// enough to leave a message readable.
inline constexpr size_t kMaxQuotedCharacters = 64;

// A value in quotation marks; quotation marks and backslashes in it are escaped. The length follows a text that is cut.
std::string Quoted(std::string_view text);
// A sentence or a name without quotation marks, cut to at most `max_bytes` bytes including the final "...". Idempotent:
// its result comes back unchanged. REQUIRES: max_bytes >= 3.
std::string OnOneLine(std::string_view text, size_t max_bytes);

}  // namespace logitd

#endif  // LOGITD_CORE_SHOWN_TEXT_H_
