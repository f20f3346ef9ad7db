// Token ids in messages: as a span, and checked.
#ifndef LOGITD_WIRE_TOKEN_IDS_H_
#define LOGITD_WIRE_TOKEN_IDS_H_

#include <google/protobuf/repeated_field.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "core/types.h"

namespace logitd::wire {

// A view: valid until `ids` changes.
inline std::span<const TokenId> Ids(const google::protobuf::RepeatedField<int32_t>& ids) {
  return {ids.data(), static_cast<size_t>(ids.size())};
}

// All of `ids` are in [0, vocab_size). Errors: TOKEN_ID_OUT_OF_RANGE with field "FIELD[i]".
absl::Status CheckTokenIds(std::span<const TokenId> ids, std::string_view field, int32_t vocab_size);
inline absl::Status CheckTokenIds(const google::protobuf::RepeatedField<int32_t>& ids, std::string_view field,
                                  int32_t vocab_size) {
  return CheckTokenIds(Ids(ids), field, vocab_size);
}

}  // namespace logitd::wire

#endif  // LOGITD_WIRE_TOKEN_IDS_H_
