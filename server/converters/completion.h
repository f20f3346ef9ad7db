// Sums, finishes and resume states: core <-> wire. Token records: wire/token_record.h.
#ifndef LOGITD_SERVER_CONVERTERS_COMPLETION_H_
#define LOGITD_SERVER_CONVERTERS_COMPLETION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/sequence.h"
#include "logitd/v1/completion.pb.h"
#include "wire/token_record.h"  // IWYU pragma: export

namespace logitd::server {

using wire::ToProto;

void ToProto(int32_t token_count, const SequenceSums& sums, v1::SequenceTotals& message);
void ToProto(const SequenceSums& sums, v1::ResumeState& message);
void ToProto(const Finish& finish, v1::Finish& message);

// The sums with which a sequence of `token_count` tokens resumes. Errors: FIELD_OUT_OF_RANGE for a value that cannot be
// the sum of that many log-probs (core/log_prob_range.h).
absl::StatusOr<SequenceSums> FromProto(const v1::ResumeState& message, int64_t token_count);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_COMPLETION_H_
