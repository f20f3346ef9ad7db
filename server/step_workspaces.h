// Working space for steps, lent for one at a time: a stream or a request that waits holds none.
//
//   for (const SequenceStep& step : batch) {
//     ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces.Lend(context));
//     decoder.Advance(step.position, row, workspace->distribution);
//   }
//
// A step is pure computation: more of them at once than there are processors end no sooner. So there are only a few
// workspaces, and who finds none waits for its turn. A lease is for one step (one row), however many a message has, and
// is never held while one waits for a client or a model: between any two steps of a long batch others have their turn,
// and who is given up leaves. Made once, in server/server.cc. Thread-safe.
#ifndef LOGITD_SERVER_STEP_WORKSPACES_H_
#define LOGITD_SERVER_STEP_WORKSPACES_H_

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/distribution.h"
#include "core/row_buffers.h"
#include "server/request_context.h"
#include "server/step_crew.h"

namespace logitd::server {

// What one row passes through. Grows to the largest row that it has had, at most 410 bytes a token of the vocabulary
// and 128 for each token of the history (core/distribution.h); a step finds nothing in it of the steps before.
struct StepWorkspace {
  Distribution distribution;
  // A row that has to be widened or aligned (WireRows::Row).
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

  // REQUIRES: count >= 1; helper_count >= 0.
  explicit StepWorkspaces(int count, int helper_count = 0) : unmade_count_(count), crew_(helper_count) {}
  // Twice the processors: a short step seldom waits for the long ones. With its caller the crew takes each of them
  // once.
  StepWorkspaces();

  // Blocks until one is free and everybody who has waited for longer has one: nobody is overtaken, and so waits for at
  // most one step of each of the others. Of several, the one given back last, for it is the likeliest to be in the
  // cache. Errors: CANCELLED, DEADLINE_EXCEEDED as soon as `context` is given up, before a lease and while it is waited
  // for. REQUIRES: the calling thread holds none.
  absl::StatusOr<Lease> Lend(const RequestContext& context);

  // For the steps of one message that may be taken at once, each in a workspace lent for it alone.
  StepCrew& crew() { return crew_; }

  // How many wait at the moment.
  int waiting_count() const;

 private:
  // Somebody who waits; lives on its thread's stack.
  struct Waiting {
    std::condition_variable_any changed;
    // What it waits for, as soon as it is its own.
    std::unique_ptr<StepWorkspace> workspace;
  };

  void TakeBack(std::unique_ptr<StepWorkspace> workspace);

  mutable std::mutex mutex_;
  // Whoever has waited longest comes first. While somebody waits, none is free and none unmade.
  std::list<Waiting*> waiting_;
  std::vector<std::unique_ptr<StepWorkspace>> free_;
  // Those that nobody has needed so far.
  int unmade_count_;
  // Last, because its threads end before what they use.
  StepCrew crew_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STEP_WORKSPACES_H_
