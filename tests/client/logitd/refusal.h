// A server's refusals, as gRPC hands them to the client.
#ifndef LOGITD_TESTS_CLIENT_LOGITD_REFUSAL_H_
#define LOGITD_TESTS_CLIENT_LOGITD_REFUSAL_H_

#include <string>

#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"
#include "logitd/v1/error.pb.h"

namespace logitd::client {

// The status of a call that the server refused with `error`.
inline grpc::Status Refusal(const v1::Error& error) {
  google::rpc::Status status;
  status.set_code(error.code());
  status.add_details()->PackFrom(error);
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()), error.message(), status.SerializeAsString());
}

inline v1::Error MakeError(int code, v1::ErrorReason reason, const std::string& field) {
  v1::Error error;
  error.set_code(code);
  error.set_reason(reason);
  error.set_message(field + " is wrong");
  error.set_field(field);
  return error;
}

}  // namespace logitd::client

#endif  // LOGITD_TESTS_CLIENT_LOGITD_REFUSAL_H_
