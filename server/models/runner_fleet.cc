#include "server/models/runner_fleet.h"

#include <random>
#include <utility>

namespace logitd::server {
namespace {

// A runner that is away for longer than this is not worth to wait for: its clients are told at once.
constexpr std::chrono::milliseconds kShortAbsence{1000};

// So that no other runner can have a supervised one's name by accident.
std::string RandomText() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::random_device random;
  std::string text;
  for (int i = 0; i < 8; ++i) text.push_back(kDigits[random() % 16]);
  return text;
}

}  // namespace

RunnerFleet::RunnerFleet(FleetOptions options, ModelPool& pool, std::function<void()> on_exit)
    : options_(std::move(options)), pool_(pool), on_exit_(std::move(on_exit)) {
  pool_.Expect(options_.model_name);
  for (int i = 1; i <= options_.count; ++i) {
    const std::string name = options_.model_name + "#" + std::to_string(i) + "-" + RandomText();
    runners_.emplace(name, std::make_unique<ChildRunner>(options_.command(name),
                                                         [this, name](auto restart_in) { OnExit(name, restart_in); }));
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

bool RunnerFleet::HasFailed() const {
  std::lock_guard lock(mutex_);
  return !any_attached_ && exited_.size() == static_cast<size_t>(options_.count);
}

std::string RunnerFleet::last_exit() const {
  for (const auto& [name, runner] : runners_) {
    if (runner->exit_count() > 0) return runner->last_exit();
  }
  return "";
}

void RunnerFleet::OnExit(const std::string& runner_name, std::chrono::milliseconds restart_in) {
  bool is_returning = false;
  {
    std::lock_guard lock(mutex_);
    exited_.insert(runner_name);
    if (restart_in > kShortAbsence) {
      away_.insert(runner_name);
    } else {
      away_.erase(runner_name);
    }
    is_returning = away_.size() < static_cast<size_t>(options_.count);
  }
  pool_.SetReturning(options_.model_name, is_returning);
  on_exit_();
}

}  // namespace logitd::server
