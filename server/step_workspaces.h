// Working space for steps, lent for one at a time: a stream or a request that waits holds none.
//
//   const StepWorkspaces::Lease workspace = workspaces.Lend();
//   session.Handle(request, *workspace, response);
//
// A step is pure computation: more of them at once than there are processors end no sooner. So there are only a few
// workspaces, and who finds none waits for another step to end. A lease is held for no longer than one computes, never
// while one waits for a client or a model. Made once, in server/server.cc. Thread-safe.
#ifndef LOGITD_SERVER_STEP_WORKSPACES_H_
#define LOGITD_SERVER_STEP_WORKSPACES_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/distribution.h"
#include "core/row_buffers.h"

namespace logitd::server {

// What one row passes through. Grows to the largest row that it has had, up to some 70 bytes a token; a step finds
// nothing in it of the steps before.
struct StepWorkspace {
  Distribution distribution;
  // A row that has to be widened, aligned or filled in (WireRows::Row).
  RowBuffers row;
};

class StepWorkspaces {
 public:
  // Must not outlive the StepWorkspaces that it is from.
  class Lease {
   public:
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (workspace_ != nullptr) owner_->TakeBack(std::move(workspace_));
    }

    StepWorkspace& operator*() const { return *workspace_; }
    StepWorkspace* operator->() const { return workspace_.get(); }

   private:
    friend class StepWorkspaces;
    Lease(StepWorkspaces* owner, std::unique_ptr<StepWorkspace> workspace)
        : owner_(owner), workspace_(std::move(workspace)) {}

    StepWorkspaces* owner_;
    std::unique_ptr<StepWorkspace> workspace_;
  };

  // REQUIRES: count >= 1.
  explicit StepWorkspaces(int count) : unmade_count_(count) {}
  // Twice the processors: a short step seldom waits for the long ones.
  StepWorkspaces();

  // Blocks until one is free; the one given back last comes first, for it is the likeliest to be in the cache.
  // REQUIRES: the calling thread holds none.
  [[nodiscard]] Lease Lend();

 private:
  void TakeBack(std::unique_ptr<StepWorkspace> workspace);

  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<std::unique_ptr<StepWorkspace>> free_;
  // Those that nobody has needed so far.
  int unmade_count_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STEP_WORKSPACES_H_
