// UTF-8: characters, and bytes that are part of none (Unicode 15, section 3.9, table 3-7: no surrogates, no overlong
// forms, nothing above U+10FFFF).
//
//   text          a        ü        0xff     0xe2 0x82 (cut from "€")
//   units         1 byte   2 bytes  1 byte   2 bytes, which may grow
//   ToUtf8        a        ü        U+FFFD   U+FFFD
//
// Thread-safe: free functions without state.
#ifndef LOGITD_BASE_UTF8_H_
#define LOGITD_BASE_UTF8_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace logitd {

// A character, or the longest run of bytes that begins one but does not finish it. Where a unit ends depends on no byte
// before it, so a text can be read piece by piece.
struct Utf8Unit {
  // Bytes.
  size_t length = 1;
  // Unset: the bytes are no character.
  std::optional<uint32_t> code_point;
  // The unit ends with the text, and more bytes could make it a character.
  bool may_grow = false;
};
// REQUIRES: bytes is not empty.
Utf8Unit FirstUnit(std::string_view bytes);

bool IsUtf8(std::string_view bytes);
// Each unit that is no character becomes U+FFFD. Pieces that were cut at CompletePrefix give the text of the whole.
std::string ToUtf8(std::string_view bytes);
// The number of characters. Unset: `bytes` is not UTF-8.
std::optional<int64_t> CountCharacters(std::string_view bytes);
// The length of the longest prefix that no further byte can change: the part of a growing text that can be sent.
size_t CompletePrefix(std::string_view bytes);

}  // namespace logitd

#endif  // LOGITD_BASE_UTF8_H_
