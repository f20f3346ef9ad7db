// The bits that two models spend on one text whose tokens differ: over the longest pieces of the text that have no
// border of tokens of both within them.
//
//   first:  "the" " ca" "t"      second: "th" "e" " cat"
//   pieces: "the" [0, 3), " cat" [3, 7)
//
// Bits are -log2 p = -ln p / ln 2. Thread-safe.
#ifndef LOGITD_CLIENT_COMPARISON_ALIGNED_BITS_H_
#define LOGITD_CLIENT_COMPARISON_ALIGNED_BITS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace logitd::comparison {

// nats as bits: -log_prob / ln 2. -inf gives +inf.
double BitsOf(double log_prob);

// A token of a text: the bytes of the text that it has, and ln p of it (-inf: excluded).
struct TokenOfText {
  int64_t byte_count = 0;
  double log_prob = 0;
};

// Bytes [begin, end) of the text, the tokens [first_token, ...) of each model that spell them, and their bits, >= 0 and
// perhaps +inf.
struct AlignedPiece {
  int64_t begin = 0;
  int64_t end = 0;
  int32_t first_begin_token = 0;
  int32_t first_token_count = 0;
  int32_t second_begin_token = 0;
  int32_t second_token_count = 0;
  double first_bits = 0;
  double second_bits = 0;
  // All bits up to `end`.
  double first_running_bits = 0;
  double second_running_bits = 0;
};

// Unset: the tokens of the two do not have the same number of bytes altogether, so they do not spell the same text.
// Tokens without bytes belong to the piece before them, or to the first one.
std::optional<std::vector<AlignedPiece>> AlignBits(std::span<const TokenOfText> first,
                                                   std::span<const TokenOfText> second);

}  // namespace logitd::comparison

#endif  // LOGITD_CLIENT_COMPARISON_ALIGNED_BITS_H_
