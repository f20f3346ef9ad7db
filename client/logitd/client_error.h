// Reads the details of a failed call.
//
// Every method of the library returns absl::Status. A status from the wire carries the google.rpc.Status of
// grpc-status-details-bin as a payload. ErrorOf() reads ErrorInfo, BadRequest, RetryInfo and logitd.v1.Error from it:
//
//   auto final = client.Complete(request);
//   if (!final.ok()) {
//     const ClientError error = ErrorOf(final.status());
//     if (error.reason == "OVERLOADED") Retry(*error.retry_delay);
//   }
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_LOGITD_CLIENT_ERROR_H_
#define LOGITD_CLIENT_LOGITD_CLIENT_ERROR_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"
#include "logitd/v1/error.pb.h"

namespace logitd::client {

struct ClientError {
  absl::StatusCode code = absl::StatusCode::kUnknown;
  // For people. It names field, value and bound.
  std::string message;
  // For programs: logitd.v1.ErrorReason without its prefix ("FIELD_OUT_OF_RANGE"). Empty: the server gave none, as in
  // every failure of the connection.
  std::string reason;
  // Path of the offending field, its value, the broken bound, the exceeded limit. Empty: none.
  std::string field;
  std::string value;
  std::string bound;
  std::string limit;
  // A retry can succeed after this time. Unset: a retry of the same request does not help.
  std::optional<std::chrono::milliseconds> retry_delay;
  // The failure as the server stated it. Unset: the server stated none.
  std::optional<v1::Error> error;

  // Whether the connection failed (nobody listens, or it broke), instead of a logitd server refusing the call.
  bool is_unreachable() const { return code == absl::StatusCode::kUnavailable && !error.has_value() && reason.empty(); }
};

// REQUIRES: !status.ok().
ClientError ErrorOf(const absl::Status& status);

// The same failure as one logitd.v1.Error, made of code and message if the server gave none. REQUIRES: !status.ok().
v1::Error ErrorMessageOf(const absl::Status& status);

// The caller's own input cannot be sent: a file is not what it should be, a value cannot be read. Nothing was asked of
// the server. The status has the code and the message of `error`, kInvalidArgument if it has no code.
absl::Status InputError(v1::Error error);
// InputError of a `field` that must be `bound`, got `value`; both may be empty.
absl::Status InputError(std::string_view field, std::string_view value, std::string_view bound,
                        std::string_view message);
bool IsInputError(const absl::Status& status);

// The same status with its details. OK stays OK.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The reason without its prefix, or its number if this build does not know it.
std::string ReasonName(v1::ErrorReason reason);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_CLIENT_ERROR_H_
