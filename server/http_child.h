// The logitd-http that this process starts and supervises, for `logitd --http ADDRESS`.
//
// - It is started again when it ends: soon if it had listened, after a growing delay if it had not. It then listens on
//   the port that it had, also if any free one was asked for.
// - It is killed when this process dies: without the server it is of no use, and it would keep the port.
// - Its lines go to the log: "http ready" with its address, "http says", "http ended".
#ifndef LOGITD_SERVER_HTTP_CHILD_H_
#define LOGITD_SERVER_HTTP_CHILD_H_

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/models/child_process.h"

namespace logitd::server {

struct HttpChildOptions {
  // The program and its options, without --listen. Its option --grace-seconds is `grace_period`.
  std::vector<std::string> command;
  // HOST:PORT. Port 0: any free one.
  std::string listen;
  // How long requests in work may go on after SIGTERM. The child is killed if it has not ended soon after.
  std::chrono::milliseconds grace_period{0};
};

// Thread-safe.
class HttpChild {
 public:
  // `on_change`: it listens, or has ended. Called on a thread of this object, under no lock.
  HttpChild(HttpChildOptions options, std::function<void()> on_change);
  // Has it take no new requests, and waits until it has ended: those in work end first.
  ~HttpChild() = default;

  HttpChild(const HttpChild&) = delete;
  HttpChild& operator=(const HttpChild&) = delete;

  // Where it listens, with the port that was bound. Unset: it has never listened.
  std::optional<std::string> address() const;
  // How it ended, if it ended before it ever listened; for people.
  std::optional<std::string> failure() const;

 private:
  void OnLine(const std::string& line);
  void OnExit(const ChildExit& exit);

  const HttpChildOptions options_;
  const std::function<void()> on_change_;
  mutable std::mutex mutex_;
  std::optional<std::string> address_;
  std::optional<std::string> failure_;
  // Declared last, because its thread uses the other members.
  ChildProcess child_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HTTP_CHILD_H_
