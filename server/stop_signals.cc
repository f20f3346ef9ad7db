#include "server/stop_signals.h"

#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "server/logging.h"

namespace logitd::server {
namespace {

const char* NameOf(int signal) { return signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "SIGHUP"; }

// Ends the process by the signal itself, so that a shell or a supervisor sees the cause.
[[noreturn]] void EndAtOnce(int signal) {
  sigset_t one;
  ::sigemptyset(&one);
  ::sigaddset(&one, signal);
  ::signal(signal, SIG_DFL);
  ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
  ::raise(signal);
  // The first process of a container survives the signal.
  ::_exit(128 + signal);
}

}  // namespace

StopSignals::StopSignals() {
  ::sigemptyset(&taken_);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&taken_, signal);
  ::pthread_sigmask(SIG_BLOCK, &taken_, nullptr);
}

void StopSignals::Watch(std::function<void()> on_stop) {
  std::thread([this, on_stop = std::move(on_stop)] { TakeAll(on_stop); }).detach();
}

bool StopSignals::requested() const {
  std::lock_guard lock(mutex_);
  return requested_;
}

void StopSignals::WaitForStop() const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return requested_; });
}

void StopSignals::TakeAll(const std::function<void()>& on_stop) {
  std::optional<std::chrono::steady_clock::time_point> requested_at;
  while (true) {
    int signal = 0;
    if (::sigwait(&taken_, &signal) != 0) continue;
    const auto now = std::chrono::steady_clock::now();
    if (signal == SIGHUP) {
      Log(LogLevel::kInfo, "signal ignored: there is nothing to read again", {{"signal", std::string(NameOf(signal))}});
    } else if (!requested_at) {
      requested_at = now;
      {
        std::lock_guard lock(mutex_);
        requested_ = true;
      }
      changed_.notify_all();
      on_stop();
    } else if (now - *requested_at > kSameRequest) {
      Log(LogLevel::kWarn, "stopped at once: asked to for the second time", {{"signal", std::string(NameOf(signal))}});
      EndAtOnce(signal);
    }
  }
}

}  // namespace logitd::server
