#include "server/handlers/row_record.h"

#include <cmath>

#include "core/errors.h"

namespace logitd::server {

TokenRecord RecordOf(const RowRecord& row, TokenId target, const RecordOptions& options) {
  TokenRecord record;
  record.token_id = target;
  if (std::isinf(row.target_log_prob)) {
    record.state = LogProbState::kExcluded;
  } else if (options.model_log_prob) {
    record.model_log_prob = row.target_log_prob;
  }
  record.rank = row.target_rank;
  record.model_entropy = row.entropy;
  if (options.entropy) record.model_log_sum_exp = row.log_sum_exp;
  record.top = row.top;
  record.named = row.named;
  return record;
}

absl::Status AsModelOutputError(const absl::Status& status) {
  const ErrorReason reason = DetailOf(status).reason;
  if (reason != ErrorReason::kNonFiniteLogit && reason != ErrorReason::kNoFiniteLogit) return status;
  return errors::ModelOutputInvalid(DetailOf(status).message);
}

}  // namespace logitd::server
