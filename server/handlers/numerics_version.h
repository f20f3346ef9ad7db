// Checks that this server has the numerics version that a request demands.
#ifndef LOGITD_SERVER_HANDLERS_NUMERICS_VERSION_H_
#define LOGITD_SERVER_HANDLERS_NUMERICS_VERSION_H_

#include "absl/status/status.h"
#include "core/errors.h"
#include "core/limits.h"

namespace logitd::server {

// `message` is a request with an optional numerics_version. Errors: NUMERICS_VERSION_MISMATCH.
template <typename Message>
absl::Status CheckNumericsVersion(const Message& message) {
  if (!message.has_numerics_version() || message.numerics_version() == kNumericsVersion) return absl::OkStatus();
  return errors::NumericsVersionMismatch(message.numerics_version());
}

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_NUMERICS_VERSION_H_
