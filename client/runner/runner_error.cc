#include "client/runner/runner_error.h"

#include "core/errors.h"

namespace logitd::runner {

v1::Error ToProtoError(const absl::Status& status) {
  const ErrorDetail detail = DetailOf(status);
  v1::Error error;
  error.set_code(static_cast<int>(detail.code));
  error.set_reason(static_cast<v1::ErrorReason>(detail.reason));
  error.set_message(detail.message);
  error.set_field(detail.field);
  error.set_value(detail.value);
  error.set_bound(detail.bound);
  error.set_limit(detail.limit);
  if (detail.token_id) error.set_token_id(*detail.token_id);
  if (detail.row) error.set_row(*detail.row);
  if (detail.retry_after_ms) error.set_retry_after_ms(*detail.retry_after_ms);
  return error;
}

}  // namespace logitd::runner
