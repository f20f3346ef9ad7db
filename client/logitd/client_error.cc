#include "client/logitd/client_error.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace logitd::client {
namespace {

// The type URL under which absl keeps a google.rpc.Status by convention.
constexpr char kDetailsUrl[] = "type.googleapis.com/google.rpc.Status";
// The type URL under which InputError keeps its v1::Error. It never leaves the process.
constexpr char kInputUrl[] = "logitd.client/input-error";

std::string Metadata(const google::rpc::ErrorInfo& info, const char* key) {
  const auto found = info.metadata().find(key);
  return found == info.metadata().end() ? std::string() : found->second;
}

// The server's own error wins over ErrorInfo, which repeats it.
void TakeError(const v1::Error& error, ClientError& out) {
  out.reason = ReasonName(error.reason());
  if (!error.field().empty()) out.field = error.field();
  if (!error.value().empty()) out.value = error.value();
  if (!error.bound().empty()) out.bound = error.bound();
  if (!error.limit().empty()) out.limit = error.limit();
  if (error.has_retry_after_ms() && !out.retry_delay) {
    out.retry_delay = std::chrono::milliseconds(error.retry_after_ms());
  }
  out.error = error;
}

void TakeInfo(const google::rpc::ErrorInfo& info, ClientError& out) {
  if (out.reason.empty()) out.reason = info.reason();
  if (out.field.empty()) out.field = Metadata(info, "field");
  if (out.value.empty()) out.value = Metadata(info, "value");
  if (out.bound.empty()) out.bound = Metadata(info, "bound");
  if (out.limit.empty()) out.limit = Metadata(info, "limit");
}

}  // namespace

std::string ReasonName(v1::ErrorReason reason) {
  constexpr char kPrefix[] = "ERROR_REASON_";
  const std::string name = v1::ErrorReason_Name(reason);
  if (name.rfind(kPrefix, 0) != 0) return absl::StrCat(static_cast<int>(reason));
  return name.substr(sizeof(kPrefix) - 1);
}

ClientError ErrorOf(const absl::Status& status) {
  ClientError out;
  out.code = status.code();
  out.message = std::string(status.message().data(), status.message().size());
  if (const auto input = status.GetPayload(kInputUrl)) {
    v1::Error error;
    if (error.ParseFromString(std::string(*input))) TakeError(error, out);
    return out;
  }
  const auto payload = status.GetPayload(kDetailsUrl);
  google::rpc::Status details;
  if (!payload || !details.ParseFromString(std::string(*payload))) return out;
  for (const google::protobuf::Any& any : details.details()) {
    if (any.Is<google::rpc::ErrorInfo>()) {
      google::rpc::ErrorInfo info;
      if (any.UnpackTo(&info)) TakeInfo(info, out);
    } else if (any.Is<google::rpc::BadRequest>()) {
      google::rpc::BadRequest bad;
      if (!any.UnpackTo(&bad)) continue;
      if (out.field.empty() && bad.field_violations_size() > 0) out.field = bad.field_violations(0).field();
    } else if (any.Is<google::rpc::RetryInfo>()) {
      google::rpc::RetryInfo retry;
      if (!any.UnpackTo(&retry)) continue;
      out.retry_delay =
          std::chrono::milliseconds(retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1'000'000);
    } else if (any.Is<v1::Error>()) {
      v1::Error error;
      if (any.UnpackTo(&error)) TakeError(error, out);
    }
  }
  return out;
}

v1::Error ErrorMessageOf(const absl::Status& status) {
  const ClientError error = ErrorOf(status);
  if (error.error) return *error.error;
  v1::Error out;
  out.set_code(static_cast<int>(error.code));
  out.set_message(error.message);
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  if (v1::ErrorReason_Parse(absl::StrCat("ERROR_REASON_", error.reason), &reason)) out.set_reason(reason);
  out.set_field(error.field);
  out.set_value(error.value);
  out.set_bound(error.bound);
  out.set_limit(error.limit);
  if (error.retry_delay) out.set_retry_after_ms(static_cast<int>(error.retry_delay->count()));
  return out;
}

absl::Status InputError(v1::Error error) {
  if (error.code() == 0) error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  absl::Status status(static_cast<absl::StatusCode>(error.code()), error.message());
  status.SetPayload(kInputUrl, absl::Cord(error.SerializeAsString()));
  return status;
}

absl::Status InputError(std::string_view field, std::string_view value, std::string_view bound,
                        std::string_view message) {
  v1::Error error;
  error.set_field(std::string(field));
  error.set_value(std::string(value));
  error.set_bound(std::string(bound));
  error.set_message(std::string(message));
  return InputError(std::move(error));
}

bool IsInputError(const absl::Status& status) { return status.GetPayload(kInputUrl).has_value(); }

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  if (!status.error_details().empty()) out.SetPayload(kDetailsUrl, absl::Cord(status.error_details()));
  return out;
}

absl::Status FromError(const v1::Error& error) {
  google::rpc::Status details;
  details.add_details()->PackFrom(error);
  absl::Status out(static_cast<absl::StatusCode>(error.code()), error.message());
  out.SetPayload(kDetailsUrl, absl::Cord(details.SerializeAsString()));
  return out;
}

}  // namespace logitd::client
