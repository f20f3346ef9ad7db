#include "server/status.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <string>

#include "core/errors.h"
#include "server/converters/wire.h"

namespace logitd::server {
namespace {

constexpr char kDomain[] = "logitd";

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const ErrorDetail detail = DetailOf(status);
  google::rpc::Status rpc;
  rpc.set_code(static_cast<int>(detail.code));
  rpc.set_message(detail.message);

  google::rpc::ErrorInfo info;
  info.set_reason(std::string(ReasonName(detail.reason)));
  info.set_domain(kDomain);
  for (const auto& [key, value] : {std::pair<const char*, const std::string*>{"field", &detail.field},
                                   {"value", &detail.value},
                                   {"bound", &detail.bound},
                                   {"limit", &detail.limit}}) {
    if (!value->empty()) (*info.mutable_metadata())[key] = *value;
  }
  rpc.add_details()->PackFrom(info);
  if (!detail.field.empty()) {
    google::rpc::BadRequest bad_request;
    auto& violation = *bad_request.add_field_violations();
    violation.set_field(detail.field);
    violation.set_description(detail.message);
    rpc.add_details()->PackFrom(bad_request);
  }
  if (detail.retry_after_ms) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(*detail.retry_after_ms / 1000);
    retry.mutable_retry_delay()->set_nanos(*detail.retry_after_ms % 1000 * 1'000'000);
    rpc.add_details()->PackFrom(retry);
  }
  rpc.add_details()->PackFrom(ToProto(status));
  return grpc::Status(static_cast<grpc::StatusCode>(detail.code), detail.message, rpc.SerializeAsString());
}

}  // namespace logitd::server
