#include "server/step_workspaces.h"

#include <algorithm>
#include <iterator>
#include <thread>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::server {

namespace {

int ProcessorCount() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

}  // namespace

StepWorkspaces::StepWorkspaces() : StepWorkspaces(2 * ProcessorCount(), ProcessorCount() - 1) {}

template <typename Workspace>
absl::StatusOr<typename WorkspacePool<Workspace>::Lease> WorkspacePool<Workspace>::Lend(const RequestContext& context) {
  RETURN_IF_ERROR(context.Check());
  std::unique_lock lock(mutex_);
  if (!free_.empty()) {
    std::unique_ptr<Workspace> workspace = std::move(free_.back());
    free_.pop_back();
    return Lease(this, std::move(workspace));
  }
  if (unmade_count_ > 0) {
    --unmade_count_;
    lock.unlock();
    return Lease(this, std::make_unique<Workspace>());
  }
  Waiting self;
  const auto place = waiting_.insert(waiting_.end(), &self);
  if (context.WaitFor(self.changed, lock, [&self] { return self.workspace != nullptr; })) {
    return Lease(this, std::move(self.workspace));
  }
  waiting_.erase(place);
  RETURN_IF_ERROR(context.Check());
  // The clock was set back after the deadline.
  return errors::DeadlineExceeded();
}

template <typename Workspace>
int WorkspacePool<Workspace>::waiting_count() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(waiting_.size());
}

template <typename Workspace>
void WorkspacePool<Workspace>::TakeBack(std::unique_ptr<Workspace> workspace) {
  std::lock_guard lock(mutex_);
  if (waiting_.empty()) {
    free_.push_back(std::move(workspace));
    return;
  }
  // Hand the workspace to the next in line; otherwise the thread that gives it back could take it again at once.
  Waiting& next = *waiting_.front();
  waiting_.pop_front();
  next.workspace = std::move(workspace);
  // Under the lock, because the woken thread destroys the condition variable.
  next.changed.notify_one();
}

template class WorkspacePool<StepWorkspace>;
template class WorkspacePool<TileWorkspace>;

}  // namespace logitd::server
