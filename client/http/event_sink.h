// Writes server-sent events to a client.
//
// Thread-safe: the calls of one request write to one sink.
#ifndef LOGITD_CLIENT_HTTP_EVENT_SINK_H_
#define LOGITD_CLIENT_HTTP_EVENT_SINK_H_

#include <httplib.h>

#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace logitd::http {

class EventSink {
 public:
  explicit EventSink(httplib::DataSink& sink) : sink_(sink) {}

  // Errors: kCancelled (the client has left).
  absl::Status Write(std::string_view data) {
    std::string event = "data: ";
    event += data;
    event += "\n\n";
    std::lock_guard lock(mutex_);
    if (sink_.write(event.data(), event.size())) return absl::OkStatus();
    return absl::CancelledError("the client has left");
  }

 private:
  std::mutex mutex_;
  httplib::DataSink& sink_;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_EVENT_SINK_H_
