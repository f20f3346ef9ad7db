// Whether a token that another program says it chose can be what a decoder would choose: all that can be told without
// the row.
#ifndef LOGITD_CORE_CHOICE_CHECK_H_
#define LOGITD_CORE_CHOICE_CHECK_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "core/decoder.h"
#include "core/token_record.h"

namespace logitd {

// `asked`: what its record is to hold. `prompt` and `output`: the tokens so far. The token is in range, in the allowed
// set, not banned, by a bad word or an n-gram that may not repeat either, and no stop token before min_tokens; the
// position is `position`; the numbers that were asked for are there, no others, and each is in its range; the draw's
// random bits are those of seed, key and position, and its interval holds them. Errors: MODEL_OUTPUT_INVALID.
absl::Status CheckChoice(const DecoderConfig& config, const RecordOptions& asked, std::span<const TokenId> prompt,
                         std::span<const TokenId> output, int32_t vocab_size, const TokenRecord& record);

// Whether a decoder may choose none after `output`: only where sets, bans, min_tokens or the tokens so far may exclude
// some. Errors: MODEL_OUTPUT_INVALID.
absl::Status CheckNoChoice(const DecoderConfig& config, std::span<const TokenId> output);

}  // namespace logitd

#endif  // LOGITD_CORE_CHOICE_CHECK_H_
