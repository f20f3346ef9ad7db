// Turns a row that the runner has reduced, or has failed to give, into a record or an error of a reply.
#ifndef LOGITD_SERVER_HANDLERS_ROW_RECORD_H_
#define LOGITD_SERVER_HANDLERS_ROW_RECORD_H_

#include "absl/status/status.h"
#include "core/token_record.h"
#include "core/types.h"
#include "server/models/work.h"

namespace logitd::server {

// The record of a given token. The caller sets position and origin.
TokenRecord RecordOf(const RowRecord& row, TokenId target, const RecordOptions& options);

// NON_FINITE_LOGIT and NO_FINITE_LOGIT become MODEL_OUTPUT_INVALID: a bad row is the model's fault, not the request's.
absl::Status AsModelOutputError(const absl::Status& status);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_ROW_RECORD_H_
