// The vocabulary's words in C++: token ids and rows of logits.
#ifndef LOGITD_CORE_TYPES_H_
#define LOGITD_CORE_TYPES_H_

#include <cstdint>
#include <span>

namespace logitd {

// Number of a token in its vocabulary, in [0, vocab_size).
using TokenId = int32_t;

// One row of a model's output: logits[i] belongs to token id i. Shape [vocab_size], unit nats, widened to f32.
// -inf means "excluded". NaN and +inf are not legal, and are found by whoever first reduces the row (Distribution,
// RowStatistics). The view does not own the values; they must outlive the call it is passed to.
using LogitsView = std::span<const float>;

}  // namespace logitd

#endif  // LOGITD_CORE_TYPES_H_
