#include "server/models/runner_fleet.h"

#include <utility>

namespace logitd::server {
namespace {

// A runner that is away for longer than this is not worth to wait for: its clients are told at once.
constexpr std::chrono::milliseconds kShortAbsence{1000};

}  // namespace

RunnerFleet::RunnerFleet(FleetOptions options, ModelPool& pool, std::function<void()> on_exit)
    : options_(std::move(options)), pool_(pool), on_exit_(std::move(on_exit)) {
  pool_.Expect(options_.model_name);
  for (int i = 1; i <= options_.count; ++i) {
    const std::string name = options_.model_name + "#" + std::to_string(i);
    runners_.emplace(
        name, std::make_unique<ChildRunner>(options_.command(name), [this](auto restart_in) { OnExit(restart_in); }));
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
}

void RunnerFleet::OnDetached(const std::string& runner_name) {
  const auto found = runners_.find(runner_name);
  if (found != runners_.end()) found->second->OnDetached();
}

bool RunnerFleet::HasFailed() const {
  std::lock_guard lock(mutex_);
  return any_exited_ && !any_attached_;
}

std::string RunnerFleet::last_exit() const {
  for (const auto& [name, runner] : runners_) {
    if (runner->exit_count() > 0) return runner->last_exit();
  }
  return "";
}

void RunnerFleet::OnExit(std::chrono::milliseconds restart_in) {
  {
    std::lock_guard lock(mutex_);
    any_exited_ = true;
  }
  // A model that has other runners does not wait for this one: this is about the last of them.
  pool_.SetReturning(options_.model_name, restart_in <= kShortAbsence);
  on_exit_();
}

}  // namespace logitd::server
