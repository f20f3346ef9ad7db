// SamplingParams, StopCriteria and RecordOptions of the wire -> core, with every range and limit checked.
#ifndef LOGITD_WIRE_SAMPLING_H_
#define LOGITD_WIRE_SAMPLING_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/sampling_params.h"
#include "core/sequence.h"
#include "core/stop_strings.h"
#include "core/token_record.h"
#include "core/types.h"
#include "core/vocab_subset.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/sampling.pb.h"
#include "wire/token_ids.h"  // IWYU pragma: export

namespace logitd::wire {

// The stages; the caller reads `seed`. Errors are those of Validate and of VocabSubset, with the message's field names
// ("temperature", "allowed_tokens.ids.token_ids[3]"), and LIMIT_EXCEEDED for the lists.
absl::StatusOr<SamplingParams> FromProto(const v1::SamplingParams& params, int32_t vocab_size);

// The token set of a single step. Errors: FIELD_REQUIRED, TOKEN_ID_OUT_OF_RANGE, DUPLICATE_TOKEN_ID, EMPTY_TOKEN_SET,
// FIELD_OUT_OF_RANGE; fields "ids", "ids.token_ids[i]", "bitmask".
absl::StatusOr<VocabSubset> FromProto(const v1::TokenSet& set, int32_t vocab_size);

// SamplingParams for scoring given tokens. Params without a log-prob, or with one that depends on a draw, are
// FIELD_OUT_OF_RANGE ("temperature", "xtc.probability").
absl::StatusOr<SamplingParams> ScoringParamsFromProto(const v1::SamplingParams& params, int32_t vocab_size);

// Bytes of the token sets and lists of `params`, without those that it shares with `shared`.
int64_t HeldBytes(const SamplingParams& params, const SamplingParams* shared = nullptr);

// `end_token_ids`: those of the vocabulary, ascending. `default_max_tokens` applies if max_tokens is unset.
// Errors: TOKEN_ID_OUT_OF_RANGE, FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED.
absl::StatusOr<StopRules> FromProto(const v1::StopCriteria& stop, std::span<const TokenId> end_token_ids,
                                    int32_t vocab_size, int32_t default_max_tokens);

// The stop strings, compiled; null: none. Errors: LIMIT_EXCEEDED, FIELD_OUT_OF_RANGE; fields "stop_strings",
// "stop_strings[i]".
absl::StatusOr<std::shared_ptr<const StopStrings>> StopStringsFromProto(const v1::StopCriteria& stop);

// Unset: none. Errors: FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED.
absl::StatusOr<std::optional<std::chrono::milliseconds>> TimeLimitFromProto(const v1::StopCriteria& stop);

// `default_sampling_log_prob` and `default_layout` apply if sampling_log_prob and layout are unset.
// Errors: FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED, TOKEN_ID_OUT_OF_RANGE.
absl::StatusOr<RecordOptions> FromProto(const v1::RecordOptions& record, int32_t vocab_size,
                                        bool default_sampling_log_prob, v1::RecordLayout default_layout);

// 64 random bits for a request without a seed. The reply reports them, so that the result can be replayed.
uint64_t DrawSeed();

}  // namespace logitd::wire

#endif  // LOGITD_WIRE_SAMPLING_H_
