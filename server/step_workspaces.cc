#include "server/step_workspaces.h"

#include <algorithm>
#include <thread>

namespace logitd::server {

StepWorkspaces::StepWorkspaces()
    : StepWorkspaces(2 * std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {}

StepWorkspaces::Lease StepWorkspaces::Lend() {
  std::unique_lock lock(mutex_);
  given_back_.wait(lock, [this] { return !free_.empty() || unmade_count_ > 0; });
  if (free_.empty()) {
    --unmade_count_;
    lock.unlock();
    return Lease(this, std::make_unique<StepWorkspace>());
  }
  std::unique_ptr<StepWorkspace> workspace = std::move(free_.back());
  free_.pop_back();
  return Lease(this, std::move(workspace));
}

void StepWorkspaces::TakeBack(std::unique_ptr<StepWorkspace> workspace) {
  {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(workspace));
  }
  given_back_.notify_one();
}

}  // namespace logitd::server
