#include "server/models/runner_fleet.h"

#include <random>
#include <utility>

namespace logitd::server {
namespace {

// Requests do not wait for a runner that is away for longer than this: they fail at once.
constexpr std::chrono::milliseconds kShortAbsence{1000};

// Makes sure that no other runner has a supervised runner's name by accident.
std::string RandomText() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  std::string text;
  for (int i = 0; i < 8; ++i) text.push_back(kDigits[random() % 16]);
  return text;
}

}  // namespace

RunnerFleet::RunnerFleet(FleetOptions options, ModelPool& pool, ChildEvents events)
    : options_(std::move(options)), pool_(pool), events_(std::move(events)) {
  pool_.Expect(options_.model_name);
  for (int i = 1; i <= options_.count; ++i) {
    const std::string name = options_.model_name + "#" + std::to_string(i) + "-" + RandomText();
    ChildEvents child{.on_exit = [this](const ChildExit& exit) { OnExit(exit); }, .on_line = events_.on_line};
    runners_.emplace(name, std::make_unique<ChildProcess>(name, options_.command(name), std::move(child)));
  }
}

RunnerFleet::~RunnerFleet() { RequestStop(); }

void RunnerFleet::RequestStop() {
  for (auto& [name, runner] : runners_) runner->RequestStop();
}

void RunnerFleet::OnAttached(const std::string& runner_name) {
  const auto found = runners_.find(runner_name);
  if (found == runners_.end()) return;
  found->second->OnAttached();
  std::lock_guard lock(mutex_);
  any_attached_ = true;
  away_.erase(runner_name);
}

void RunnerFleet::OnDetached(const std::string& runner_name) {
  const auto found = runners_.find(runner_name);
  if (found != runners_.end()) found->second->OnDetached();
}

std::optional<RunnerEnd> RunnerFleet::AwaitEnd(const std::string& runner_name,
                                               std::function<void(const RunnerEnd&)> then) {
  const auto found = runners_.find(runner_name);
  return found == runners_.end() ? RunnerEnd() : found->second->AwaitEnd(std::move(then));
}

bool RunnerFleet::HasFailed() const {
  std::lock_guard lock(mutex_);
  return !any_attached_ && exited_.size() == static_cast<size_t>(options_.count);
}

std::string RunnerFleet::last_exit() const {
  std::lock_guard lock(mutex_);
  return last_exit_;
}

void RunnerFleet::OnExit(const ChildExit& exit) {
  bool is_returning = false;
  {
    std::lock_guard lock(mutex_);
    exited_.insert(exit.name);
    last_exit_ = exit.end.cause + (exit.last_line.empty() ? "" : ": " + exit.last_line);
    if (exit.restart_in > kShortAbsence) {
      away_.insert(exit.name);
    } else {
      away_.erase(exit.name);
    }
    is_returning = away_.size() < static_cast<size_t>(options_.count);
  }
  pool_.SetReturning(options_.model_name, is_returning);
  events_.on_exit(exit);
}

}  // namespace logitd::server
