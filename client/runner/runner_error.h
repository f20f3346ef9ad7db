// A status as the Error that a runner sends.
#ifndef LOGITD_CLIENT_RUNNER_RUNNER_ERROR_H_
#define LOGITD_CLIENT_RUNNER_RUNNER_ERROR_H_

#include "absl/status/status.h"
#include "logitd/v1/error.pb.h"

namespace logitd::runner {

// Everything that core/errors.h puts into `status`. REQUIRES: !status.ok().
v1::Error ToProtoError(const absl::Status& status);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_RUNNER_ERROR_H_
