#include "client/logitd/patience.h"

#include <algorithm>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/logitd/client_error.h"

namespace logitd::client {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstBackoff{50};
constexpr milliseconds kLongestBackoff{2000};

}  // namespace

void SleepFor(milliseconds duration) { std::this_thread::sleep_for(duration); }

bool IsTransient(const absl::Status& status) {
  if (status.ok() || IsInputError(status)) return false;
  const ClientError error = ErrorOf(status);
  if (error.code == absl::StatusCode::kUnavailable) return true;
  if (error.code == absl::StatusCode::kResourceExhausted) return error.retry_delay.has_value();
  // gRPC's words for a server that died while it answered.
  return !error.error && (error.message.find("RST_STREAM") != std::string::npos ||
                          error.message.find("Stream removed") != std::string::npos);
}

bool IsTransient(const v1::Error& error) {
  if (error.code() == static_cast<int>(absl::StatusCode::kUnavailable)) return true;
  return error.code() == static_cast<int>(absl::StatusCode::kResourceExhausted) && error.has_retry_after_ms();
}

void Patience::Reset() {
  first_failure_.reset();
  backoff_ = milliseconds(0);
}

absl::Status Patience::WaitAfter(const absl::Status& failure) {
  if (!IsTransient(failure)) return failure;
  const auto now = options_.now();
  const bool is_first = !first_failure_.has_value();
  if (is_first) first_failure_ = now;
  const auto left = std::chrono::ceil<milliseconds>(*first_failure_ + options_.retry_for - now);
  if (left <= milliseconds(0)) {
    if (options_.retry_for == milliseconds(0)) return failure;
    return absl::Status(failure.code(), absl::StrCat("no answer for ", options_.retry_for.count(),
                                                     " ms; the last error: ", std::string(failure.message())));
  }
  if (is_first && options_.on_outage) options_.on_outage(failure);
  backoff_ = std::clamp(2 * backoff_, kFirstBackoff, kLongestBackoff);
  const milliseconds wait = std::min(left, std::max(backoff_, ErrorOf(failure).retry_delay.value_or(milliseconds(0))));
  options_.sleep ? options_.sleep(wait) : SleepFor(wait);
  return absl::OkStatus();
}

}  // namespace logitd::client
