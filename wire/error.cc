#include "wire/error.h"

#include "core/errors.h"

namespace logitd::wire {

v1::Error ToProto(const absl::Status& status) {
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

absl::Status FromProto(const v1::Error& error) {
  ErrorDetail detail;
  const bool known_code = error.code() > 0 && error.code() <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  detail.code = known_code ? static_cast<absl::StatusCode>(error.code()) : absl::StatusCode::kInternal;
  detail.reason =
      v1::ErrorReason_IsValid(error.reason()) ? static_cast<ErrorReason>(error.reason()) : ErrorReason::kInternal;
  detail.message = error.message();
  detail.field = error.field();
  detail.value = error.value();
  detail.bound = error.bound();
  detail.limit = error.limit();
  if (error.has_token_id()) detail.token_id = error.token_id();
  if (error.has_row()) detail.row = error.row();
  if (error.has_retry_after_ms()) detail.retry_after_ms = error.retry_after_ms();
  return ToStatus(detail);
}

}  // namespace logitd::wire
