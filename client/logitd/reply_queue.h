// The messages that a server streams, read on a thread of their own until there are no more, so that a client can write
// meanwhile: a server reads a message only after it has written its reply to the one before.
#ifndef LOGITD_CLIENT_LOGITD_REPLY_QUEUE_H_
#define LOGITD_CLIENT_LOGITD_REPLY_QUEUE_H_

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace logitd::client {

template <typename Response>
class ReplyQueue {
 public:
  // REQUIRES: `stream` outlives this, and nobody else reads it. Destroy after Join.
  template <typename Stream>
  explicit ReplyQueue(Stream& stream)
      : thread_([this, &stream] {
          Response response;
          while (stream.Read(&response)) {
            std::lock_guard lock(mutex_);
            replies_.push_back(std::move(response));
            response = Response();
            changed_.notify_all();
          }
          std::lock_guard lock(mutex_);
          has_ended_ = true;
          changed_.notify_all();
        }) {}

  // The next reply. Unset: there is none yet, or with `wait` there will be none.
  std::optional<Response> Take(bool wait) {
    std::unique_lock lock(mutex_);
    if (wait) changed_.wait(lock, [this] { return !replies_.empty() || has_ended_; });
    if (replies_.empty()) return std::nullopt;
    Response response = std::move(replies_.front());
    replies_.pop_front();
    return response;
  }

  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Response> replies_;
  bool has_ended_ = false;
  // The last member, because the thread uses the others.
  std::jthread thread_;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_REPLY_QUEUE_H_
