// absl::Status -> grpc::Status: the one place that puts a call's error on the wire.
#ifndef LOGITD_SERVER_STATUS_H_
#define LOGITD_SERVER_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace logitd::server {

// Details (grpc-status-details-bin): google.rpc.ErrorInfo {reason, domain "logitd", metadata}, BadRequest where a field
// is at fault, RetryInfo where a later try can succeed, and the same failure as a logitd.v1.Error.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STATUS_H_
