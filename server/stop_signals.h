// Takes the signals that end the server on a thread of its own, so no code runs in a signal handler.
//
//   static StopSignals signals;             // before any other thread is started
//   signals.Watch([&] { server->Wake(); });  // called once, by the first request to stop
//   signals.WaitForStop();
//
// - SIGTERM, SIGINT: a request to stop in order. One that comes within kSameRequest of the first is the same request:
//   GNU timeout sends its signal twice. A later one ends the process at once, as that signal does by default (a shell
//   shows 143 or 130).
// - SIGHUP: ignored, with a line in the log; reserved for reading files again.
// - Other signals have their default effect: SIGQUIT ends the process at once, with a core file where these are on.
#ifndef LOGITD_SERVER_STOP_SIGNALS_H_
#define LOGITD_SERVER_STOP_SIGNALS_H_

#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace logitd::server {

// Thread-safe, except for Watch. A process has one, which lives as long as the process: its thread never ends.
class StopSignals {
 public:
  static constexpr std::chrono::milliseconds kSameRequest{1000};

  // Blocks the signals in this thread, and so in all threads that it starts later. Until Watch they wait.
  StopSignals();

  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Takes the signals from now on. Call it once.
  void Watch(std::function<void()> on_stop);
  bool requested() const;
  // Blocks until a stop is requested.
  void WaitForStop() const;

 private:
  void TakeAll(const std::function<void()>& on_stop);

  sigset_t taken_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool requested_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STOP_SIGNALS_H_
