// The ranges of sampling parameters: one function for each kind of range and for each list.
//
//   RETURN_IF_ERROR(CheckClosed("top_p", params.top_p, 0, 1));
//
// NaN is in no range. `field` is the field's name in SamplingParams of the proto. Thread-safe: free functions without
// state.
#ifndef LOGITD_CORE_SAMPLING_CHECKS_H_
#define LOGITD_CORE_SAMPLING_CHECKS_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "core/sampling_params.h"

namespace logitd {

// Errors of all five: FIELD_OUT_OF_RANGE. 0, or [kMinTemperature, kMaxTemperature].
absl::Status CheckTemperature(double temperature);
// [low, high].
absl::Status CheckClosed(std::string_view field, double value, double low, double high);
// (0, high].
absl::Status CheckPositive(std::string_view field, double value, double high);
// [0, 1): a cut at probability 1 would leave only certain tokens, and temperature 0 is for that.
absl::Status CheckCutoff(std::string_view field, double value);
// >= 0.
absl::Status CheckNotNegative(std::string_view field, int32_t value);

// Errors: FIELD_OUT_OF_RANGE, FIELD_REQUIRED, TOKEN_ID_OUT_OF_RANGE, LIMIT_EXCEEDED.
absl::Status CheckDry(const DryPenalty& dry, int32_t vocab_size);
// Errors: the same, and DUPLICATE_TOKEN_ID for the later one of two biases of one token.
absl::Status CheckLogitBiases(std::span<const LogitBias> biases, int32_t vocab_size);
// Errors: as CheckDry.
absl::Status CheckSequenceBiases(std::span<const SequenceBias> biases, int32_t vocab_size);
// The tokens in sequence_biases and in dry.breakers, together. Errors: LIMIT_EXCEEDED, naming the longer list.
absl::Status CheckListTokens(const SamplingLists& lists);

}  // namespace logitd

#endif  // LOGITD_CORE_SAMPLING_CHECKS_H_
