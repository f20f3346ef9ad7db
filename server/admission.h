// Bounds what the server does at once: running calls, open streams, and the bytes of memory of requests in work and of
// stream state. Thread-safe.
//
// Calls and streams have limits of their own. A stream stays open as long as its client likes and is idle most of the
// time; an idle stream holds no thread, and streams never take the room of calls. A call takes at most one thread, and
// so does a stream, so both limits together bound the threads (server/worker_threads.h).
#ifndef LOGITD_SERVER_ADMISSION_H_
#define LOGITD_SERVER_ADMISSION_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/errors.h"
#include "server/limits.h"
#include "server/places.h"

namespace logitd::server {

// A share of the bytes in work; its destructor gives the share back. Must not outlive its Admission.
class BytesInWork {
 public:
  BytesInWork(std::atomic<int64_t>& total, int64_t bytes) : total_(&total), bytes_(bytes) {}
  BytesInWork(BytesInWork&& other) noexcept : total_(other.total_), bytes_(std::exchange(other.bytes_, 0)) {}
  BytesInWork& operator=(BytesInWork&& other) noexcept {
    std::swap(total_, other.total_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~BytesInWork() { total_->fetch_sub(bytes_); }

 private:
  friend class Admission;

  std::atomic<int64_t>* total_;
  int64_t bytes_;
};

class Admission {
 public:
  Admission(int64_t max_calls, int64_t max_open_streams, int64_t max_bytes)
      : calls_({kMaxCalls.name, max_calls}, "calls are running"),
        streams_({kMaxOpenStreams.name, max_open_streams}, "streams are open"),
        max_bytes_(max_bytes) {}

  // Calls that run until they are done: unary ones and server streams.
  Places& calls() { return calls_; }
  // Decode and ScoreLogits.
  Places& streams() { return streams_; }

  // Charges a request's message, which will take `bytes` of memory once it is parsed. Large messages leave an eighth of
  // the room to small ones, so a client that sends large ones cannot stop the short calls of others.
  // Errors: OVERLOADED if the room is taken.
  absl::StatusOr<BytesInWork> TakeBytes(int64_t bytes) {
    const int64_t limit = bytes > kSmallBytes ? max_bytes_ - max_bytes_ / 8 : max_bytes_;
    const int64_t total = bytes_.fetch_add(bytes) + bytes;
    BytesInWork taken(bytes_, bytes);
    if (total > limit) return errors::OverloadedBytes(total, {kMaxBytesInWork.name, limit}, Places::kRetryAfterMs);
    return taken;
  }
  int64_t bytes() const { return bytes_.load(); }

  // Charges the `bytes` that a stream keeps between its messages; `held` is the stream's charge. Called after each
  // message.
  // - Only whole steps (kHeldStepBytes) count: most messages change nothing, and a small stream touches no shared
  //   counter.
  // - Growth leaves a quarter of the bytes to messages, so large silent streams do not stop other clients.
  // Errors: OVERLOADED if there is no room for the growth; `held` then stays as it was. Shrinking never fails.
  absl::Status Hold(int64_t bytes, std::optional<BytesInWork>& held) {
    const int64_t wanted = bytes / kHeldStepBytes * kHeldStepBytes;
    const int64_t growth = wanted - (held ? held->bytes_ : 0);
    if (growth == 0) return absl::OkStatus();
    const int64_t total = bytes_.fetch_add(growth) + growth;
    const int64_t limit = max_bytes_ - max_bytes_ / 4;
    if (growth > 0 && total > limit) {
      bytes_.fetch_sub(growth);
      return errors::OverloadedBytes(total, {kMaxBytesInWork.name, limit}, Places::kRetryAfterMs);
    }
    if (held) {
      held->bytes_ = wanted;
    } else {
      held.emplace(bytes_, wanted);
    }
    return absl::OkStatus();
  }

 private:
  // Holds a row of 262,144 values in f32, or a few thousand submessages.
  static constexpr int64_t kSmallBytes = (1 << 20) + (64 << 10);
  // All streams together keep less than kHeldStepBytes * max_open_streams bytes that are not counted.
  static constexpr int64_t kHeldStepBytes = 64 << 10;

  Places calls_;
  Places streams_;
  const int64_t max_bytes_;
  std::atomic<int64_t> bytes_{0};
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_ADMISSION_H_
