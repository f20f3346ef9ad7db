// absl::Status with an ErrorDetail <-> logitd.v1.Error.
#ifndef LOGITD_WIRE_ERROR_H_
#define LOGITD_WIRE_ERROR_H_

#include "absl/status/status.h"
#include "logitd/v1/error.pb.h"

namespace logitd::wire {

// REQUIRES: !status.ok().
v1::Error ToProto(const absl::Status& status);
// An error from another program. Never OK, whatever its code says.
absl::Status FromProto(const v1::Error& error);

}  // namespace logitd::wire

#endif  // LOGITD_WIRE_ERROR_H_
