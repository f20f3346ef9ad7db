// The tokens that a request names for each position of a sequence.
#ifndef LOGITD_SERVER_CONVERTERS_NAMED_BY_POSITION_H_
#define LOGITD_SERVER_CONVERTERS_NAMED_BY_POSITION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/types.h"
#include "logitd/v1/sampling.pb.h"

namespace logitd::server {

// One list for each position; empty if none is named.
using NamedByPosition = std::vector<std::vector<TokenId>>;

// The lists of `count` positions. Errors (field "named_by_position", or one in it): TARGET_COUNT_MISMATCH,
// LIMIT_EXCEEDED, TOKEN_ID_OUT_OF_RANGE.
absl::StatusOr<NamedByPosition> NamedFromProto(const google::protobuf::RepeatedPtrField<v1::TokenIds>& lists,
                                               int64_t count, int32_t vocab_size);

// The number of tokens in all lists.
int64_t CountOf(const NamedByPosition& named);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_NAMED_BY_POSITION_H_
