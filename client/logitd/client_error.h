// The error of a failed call, taken apart.
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
  // Retry after this time. Unset: a retry of the same request does not help.
  std::optional<std::chrono::milliseconds> retry_delay;
  // The error as the server stated it. Unset: it stated none.
  std::optional<v1::Error> error;

  // Whether the connection failed (nobody listens, or it broke), instead of a logitd server refusing the call.
  bool is_unreachable() const { return code == absl::StatusCode::kUnavailable && !error.has_value() && reason.empty(); }
};

// REQUIRES: !status.ok().
ClientError ErrorOf(const absl::Status& status);

// The error as one logitd.v1.Error; if the server stated none, it is made of code and message. REQUIRES: !status.ok().
v1::Error ErrorMessageOf(const absl::Status& status);

// An error of the caller's own input, which was not sent: a file of another form, a value that cannot be read. The
// status has the code and the message of `error`; without a code it is kInvalidArgument.
absl::Status InputError(v1::Error error);
// InputError of a `field` that must be `bound`, got `value`; both may be empty.
absl::Status InputError(std::string_view field, std::string_view value, std::string_view bound,
                        std::string_view message);
bool IsInputError(const absl::Status& status);

// The same status with its details. OK stays OK.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The error of an item as the status of a call that had failed with it.
absl::Status FromError(const v1::Error& error);

// The reason without its prefix, or its number if this build does not know it.
std::string ReasonName(v1::ErrorReason reason);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_CLIENT_ERROR_H_
