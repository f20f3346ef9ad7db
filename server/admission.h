// How much there is at once: calls that run, streams that are open, and bytes of memory of requests that are being
// worked on or that streams keep. Thread-safe.
//
// Calls and streams are counted apart: a stream is open for as long as its client likes, and idle most of the time,
// when it holds no thread. However many there are, calls find room. Each of both takes at most one thread, so that both
// limits together bound the threads (server/worker_threads.h).
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

// A share of the bytes that may be worked on at once, given back with it. Must not outlive its Admission.
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

  // For a message of a request, before it is parsed: `bytes` of memory. Large messages leave an eighth to small ones,
  // so that whoever sends as much as may be in work does not stop the others' short calls. Errors: OVERLOADED if the
  // others take too much.
  absl::StatusOr<BytesInWork> TakeBytes(int64_t bytes) {
    const int64_t limit = bytes > kSmallBytes ? max_bytes_ - max_bytes_ / 8 : max_bytes_;
    const int64_t total = bytes_.fetch_add(bytes) + bytes;
    BytesInWork taken(bytes_, bytes);
    if (total > limit) return errors::OverloadedBytes(total, {kMaxBytesInWork.name, limit}, Places::kRetryAfterMs);
    return taken;
  }
  int64_t bytes() const { return bytes_.load(); }

  // For what a stream keeps from its messages until it ends: makes `held` its charge, which a stream sets anew after
  // each message. Whole steps are counted, so that most messages change nothing and a small stream touches no shared
  // counter. Growth leaves a quarter of the bytes to messages: streams that keep much and then are silent do not stop
  // the others.
  // Errors: OVERLOADED if there is no room for the growth; `held` is as before, and shrinking never fails.
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
  // A row of 262,144 values in f32, or some thousand submessages.
  static constexpr int64_t kSmallBytes = (1 << 20) + (64 << 10);
  // All streams together keep less than this * max_open_streams that is not counted.
  static constexpr int64_t kHeldStepBytes = 64 << 10;

  Places calls_;
  Places streams_;
  const int64_t max_bytes_;
  std::atomic<int64_t> bytes_{0};
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_ADMISSION_H_
