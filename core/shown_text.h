// Text of others (of a client, a runner, a library) as messages, trailers and logs show it: on one line, valid UTF-8,
// harmless in a terminal, and short.
//
//   "no model " + Quoted("llama\n") + " is known"       // no model "llama\n" is known
//   Quoted(std::string(100'000, 'a'))                   // "aaaa...aaaa..." (100,000 bytes)
//
// - Control characters become \n, \t, \r or \u{1b}; so do the characters that nobody sees or that turn the direction of
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

// Characters of a quoted text that are shown, as they are shown: "\n" is two. Enough for every name that a client may
// use in earnest, and few enough for a message to be read.
inline constexpr size_t kMaxQuotedCharacters = 64;

// A value, in quotation marks: those in it, and backslashes, are escaped. What is cut has its length behind it.
std::string Quoted(std::string_view text);
// A sentence or a name, without quotation marks, cut so that it has at most `max_bytes` bytes with the "..." behind it.
// The same again for what it returns. REQUIRES: max_bytes >= 3.
std::string OnOneLine(std::string_view text, size_t max_bytes);

}  // namespace logitd

#endif  // LOGITD_CORE_SHOWN_TEXT_H_
