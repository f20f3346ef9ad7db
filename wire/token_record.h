// Token records: core <-> wire.
#ifndef LOGITD_WIRE_TOKEN_RECORD_H_
#define LOGITD_WIRE_TOKEN_RECORD_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/kept_tokens.h"
#include "core/token_record.h"
#include "core/vocabulary.h"
#include "logitd/v1/completion.pb.h"

namespace logitd::wire {

// `vocabulary`: for the tokens' bytes; null: none. With options.records false, only id, position and origin. Of a whole
// vocabulary (TopLayout::kWholeVocabulary) record.top may come in any order. REQUIRES: it holds every token then.
void ToProto(const TokenRecord& record, const RecordOptions& options, const Vocabulary* vocabulary,
             v1::TokenRecord& message);
void ToProto(const Draw& draw, v1::DrawRecord& message);

// A record without tokens' bytes that another program made. Its ids are in range, its lists as long as each other, and
// no log-prob is NaN or above 0 by more than rounding; nothing else is checked. Errors: TOKEN_ID_OUT_OF_RANGE,
// FIELD_OUT_OF_RANGE.
absl::StatusOr<TokenRecord> FromProto(const v1::TokenRecord& message, int32_t vocab_size);

}  // namespace logitd::wire

#endif  // LOGITD_WIRE_TOKEN_RECORD_H_
