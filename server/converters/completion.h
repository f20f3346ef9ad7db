// Token records, sums, finishes and resume states: core <-> wire.
#ifndef LOGITD_SERVER_CONVERTERS_COMPLETION_H_
#define LOGITD_SERVER_CONVERTERS_COMPLETION_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/kept_tokens.h"
#include "core/sequence.h"
#include "core/token_record.h"
#include "logitd/v1/completion.pb.h"
#include "server/models/work.h"

namespace logitd::server {

// `vocabulary`: for the tokens' bytes; null: none. With options.records false, only id, position and origin. Of a whole
// vocabulary (TopLayout::kWholeVocabulary) record.top may come in any order. REQUIRES: it holds every token then.
void ToProto(const TokenRecord& record, const RecordOptions& options, const Vocabulary* vocabulary,
             v1::TokenRecord& message);
void ToProto(int32_t token_count, const SequenceSums& sums, v1::SequenceTotals& message);
void ToProto(const SequenceSums& sums, v1::ResumeState& message);
void ToProto(const Finish& finish, v1::Finish& message);
void ToProto(const Draw& draw, v1::DrawRecord& message);

// The sums that a sequence of `token_count` tokens is resumed with. Errors: FIELD_OUT_OF_RANGE for what cannot be the
// sum of so many log-probs (core/log_prob_range.h).
absl::StatusOr<SequenceSums> FromProto(const v1::ResumeState& message, int64_t token_count);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_COMPLETION_H_
