#include "server/services/call_record.h"

#include <grpc/grpc.h>

#include "core/errors.h"
#include "server/logging.h"

namespace logitd::server {

void CallRecord::Abort(const absl::Status& status) {
  // TryCancel would report CANCELLED, as if the client had cancelled.
  ::grpc_call_cancel_with_status(context_->c_call(), static_cast<grpc_status_code>(status.code()),
                                 std::string(status.message()).c_str(), nullptr);
}

void CallRecord::WriteLine() const {
  // A fault of the server is logged at every level of detail; other calls only at debug level.
  const bool is_fault = status_.code() == absl::StatusCode::kInternal;
  const LogLevel level = is_fault ? LogLevel::kError : LogLevel::kDebug;
  if (!IsLogged(level)) return;
  const auto duration = std::chrono::steady_clock::now() - begun_;
  const double duration_ms = std::chrono::duration<double, std::milli>(duration).count();
  const std::string status(absl::StatusCodeToString(status_.code()));
  if (status_.ok()) {
    Log(level, "call", {{"method", method_}, {"status", status}, {"duration_ms", duration_ms}});
    return;
  }
  const ErrorDetail detail = DetailOf(status_);
  // The message of a request's error quotes the wrong value, which is the client's data.
  const std::string& what = is_fault ? detail.message : detail.field;
  Log(level, "call",
      {{"method", method_},
       {"status", status},
       {"reason", std::string(ReasonName(detail.reason))},
       {is_fault ? "error" : "field", what},
       {"duration_ms", duration_ms}});
}

}  // namespace logitd::server
