#include "client/cli/item_requests.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/logitd/client_error.h"
#include "client/logitd/options.h"

namespace logitd::cli {
namespace {

// Marks the status of a request that is too large to be sent.
constexpr char kTooLargeUrl[] = "logit/too-large";

bool ConcernsItems(const absl::Status& status) {
  if (status.GetPayload(kTooLargeUrl)) return true;
  const client::ClientError error = client::ErrorOf(status);
  // A server that is full (max_calls) names a limit too, but it is not the items that are too large.
  if (!error.error || error.retry_delay) return false;
  // Nor are they if the connection is.
  if (error.limit == "max_streams_per_connection") return false;
  return !error.limit.empty() || error.field.rfind("items", 0) == 0;
}

}  // namespace

absl::Status CheckRequestSize(const google::protobuf::Message& request) {
  const size_t bytes = request.ByteSizeLong();
  if (bytes <= static_cast<size_t>(client::kMaxMessageBytes)) return absl::OkStatus();
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("a request must have at most ", client::kMaxMessageBytes, " bytes, got ", bytes));
  status.SetPayload(kTooLargeUrl, absl::Cord());
  return status;
}

absl::Status SendItems(size_t begin, size_t end, const std::function<absl::Status(size_t begin, size_t end)>& send,
                       const std::function<void(size_t index, const v1::Error& error)>& refuse,
                       Environment& environment) {
  if (begin == end) return absl::OkStatus();
  absl::Status status = send(begin, end);
  for (int attempt = 0; !status.ok() && attempt < kRetries; ++attempt) {
    const client::ClientError error = client::ErrorOf(status);
    if (error.code != absl::StatusCode::kResourceExhausted || !error.retry_delay) break;
    environment.sleep(*error.retry_delay);
    status = send(begin, end);
  }
  if (status.ok()) return status;
  if (!ConcernsItems(status)) return status;
  if (end - begin == 1) {
    v1::Error error = client::ErrorMessageOf(status);
    if (status.GetPayload(kTooLargeUrl)) {
      error.set_reason(v1::ERROR_REASON_LIMIT_EXCEEDED);
      error.set_limit("max_message_bytes");
    }
    refuse(begin, error);
    return absl::OkStatus();
  }
  const size_t middle = begin + (end - begin) / 2;
  if (absl::Status first = SendItems(begin, middle, send, refuse, environment); !first.ok()) return first;
  return SendItems(middle, end, send, refuse, environment);
}

}  // namespace logitd::cli
