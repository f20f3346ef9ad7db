// Checks a token that another program chose: whether a decoder could have chosen it, as far as that shows without the
// row.
#ifndef LOGITD_CORE_CHOICE_CHECK_H_
#define LOGITD_CORE_CHOICE_CHECK_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "core/decoder.h"
#include "core/token_record.h"

namespace logitd {

// `asked`: the parts of its record. `prompt` and `output`: the tokens so far. OK if all of this holds:
// - The token is in range and in the allowed set. No ban, bad word or no-repeat n-gram excludes it, and it is no stop
//   token before min_tokens.
// - The position is `position`.
// - The numbers that were asked for are there, no others, and each is in its range.
// - The draw's random bits are those of seed, key and position, and its interval holds them.
// Errors: MODEL_OUTPUT_INVALID.
absl::Status CheckChoice(const DecoderConfig& config, const RecordOptions& asked, std::span<const TokenId> prompt,
                         std::span<const TokenId> output, int32_t vocab_size, const TokenRecord& record);

// Whether a decoder may choose no token after `output`: only if sets, bans, min_tokens or the tokens so far may exclude
// some. Errors: MODEL_OUTPUT_INVALID.
absl::Status CheckNoChoice(const DecoderConfig& config, std::span<const TokenId> output);

}  // namespace logitd

#endif  // LOGITD_CORE_CHOICE_CHECK_H_
