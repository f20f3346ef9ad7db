#include "client/cli/item_requests.h"

#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

bool ConcernsItems(const client::ClientError& error) {
  // A server that is full (max_calls) names a limit too, but it is not the items that are too large.
  if (!error.error || error.retry_delay) return false;
  return !error.limit.empty() || error.field.rfind("items", 0) == 0;
}

}  // namespace

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
  const client::ClientError error = client::ErrorOf(status);
  if (!ConcernsItems(error)) return status;
  if (end - begin == 1) {
    refuse(begin, *error.error);
    return absl::OkStatus();
  }
  const size_t middle = begin + (end - begin) / 2;
  if (absl::Status first = SendItems(begin, middle, send, refuse, environment); !first.ok()) return first;
  return SendItems(middle, end, send, refuse, environment);
}

}  // namespace logitd::cli
