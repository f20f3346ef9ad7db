#include "server/http_child.h"

#include <signal.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "server/logging.h"

namespace logitd::server {
namespace {

// The first line of logitd-http.
constexpr std::string_view kListening = "listening on ";
// How long it may take to end after its requests have ended or been given up.
constexpr std::chrono::milliseconds kEndTime{500};

std::vector<std::string> CommandWith(std::vector<std::string> command, const std::string& listen) {
  command.insert(command.end(), {"--listen", listen});
  return command;
}

}  // namespace

HttpChild::HttpChild(HttpChildOptions options, std::function<void()> on_change)
    : options_(std::move(options)),
      on_change_(std::move(on_change)),
      child_("logitd-http", CommandWith(options_.command, options_.listen),
             {.on_exit = [this](const ChildExit& exit) { OnExit(exit); },
              .on_line = [this](const std::string&, const std::string& line) { OnLine(line); }},
             options_.grace_period + std::min(options_.grace_period / 2, kEndTime), SIGKILL) {}

std::optional<std::string> HttpChild::address() const {
  std::lock_guard lock(mutex_);
  return address_;
}

std::optional<std::string> HttpChild::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void HttpChild::OnLine(const std::string& line) {
  if (!line.starts_with(kListening)) {
    Log(LogLevel::kInfo, "http says", {{"line", line}});
    return;
  }
  const std::string address = line.substr(kListening.size());
  Log(LogLevel::kInfo, "http ready", {{"address", address}});
  child_.SetCommand(CommandWith(options_.command, address));
  child_.OnAttached();
  {
    std::lock_guard lock(mutex_);
    address_ = address;
  }
  on_change_();
}

void HttpChild::OnExit(const ChildExit& exit) {
  bool has_listened;
  {
    std::lock_guard lock(mutex_);
    has_listened = address_.has_value();
    if (!has_listened) failure_ = exit.end.cause + (exit.last_line.empty() ? "" : ": " + exit.last_line);
  }
  // Otherwise the failed start reports it.
  if (has_listened) {
    Log(exit.end.kind == RunnerEnd::Kind::kLeft ? LogLevel::kInfo : LogLevel::kWarn, "http ended",
        {{"cause", exit.end.cause},
         {"last_line", exit.last_line},
         {"restart_in_ms", static_cast<int64_t>(exit.restart_in.count())}});
  }
  on_change_();
}

}  // namespace logitd::server
