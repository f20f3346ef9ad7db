// Working space for steps, lent for one step at a time. Streams and requests that wait hold none.
//
//   for (const SequenceStep& step : batch) {
//     ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces.Lend(context));
//     decoder.Advance(step.position, row, workspace->distribution);
//   }
//
// A step is pure computation, so running more of them than there are processors gains nothing. There are a few
// workspaces; if none is free, Lend waits in FIFO order.
// - A lease covers one row, so long batches yield between rows. A caller must not hold it while it waits for a client
//   or a model.
// - A caller whose call is given up stops waiting.
// Made once, in server/server.cc. Thread-safe.
#ifndef LOGITD_SERVER_STEP_WORKSPACES_H_
#define LOGITD_SERVER_STEP_WORKSPACES_H_

#include <algorithm>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/distribution.h"
#include "core/hidden_tile.h"
#include "core/logits_row.h"
#include "server/request_context.h"
#include "server/step_crew.h"

namespace logitd::server {

// The buffers that one row passes through. They grow to the largest row so far: at most 410 bytes for each token of the
// vocabulary and 128 for each token of the history (core/distribution.h). No result of a step reaches the next.
struct StepWorkspace {
  Distribution distribution;
  // Holds a row that has to be widened or aligned (WireRows::Row).
  RowBuffers row;
};

// The buffers in which a head turns rows of hidden states into logits, a tile of rows at a time. They grow to the
// largest tile so far: 16 MiB of logits, or one row of them, and as many hidden states (core/hidden_tile.h).
struct TileWorkspace {
  HiddenTile hidden{1};
  // The rows of the tile, one after the other.
  std::vector<float> logits;
  // Holds a row of hidden states that has to be widened or aligned.
  std::vector<float> values;
};

// Objects of one kind that are lent, in FIFO order, to callers that wait. Thread-safe.
template <typename Workspace>
class WorkspacePool {
 public:
  // Must not outlive the pool that lent it.
  class Lease {
   public:
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (workspace_ != nullptr) owner_->TakeBack(std::move(workspace_));
    }

    Workspace& operator*() const { return *workspace_; }
    Workspace* operator->() const { return workspace_.get(); }

   private:
    friend class WorkspacePool;
    Lease(WorkspacePool* owner, std::unique_ptr<Workspace> workspace)
        : owner_(owner), workspace_(std::move(workspace)) {}

    WorkspacePool* owner_;
    std::unique_ptr<Workspace> workspace_;
  };

  // REQUIRES: count >= 1.
  explicit WorkspacePool(int count) : unmade_count_(count) {}

  absl::StatusOr<Lease> Lend(const RequestContext& context);
  int waiting_count() const;

 private:
  // A waiting caller; lives on its thread's stack.
  struct Waiting {
    std::condition_variable_any changed;
    // The workspace, once the caller has it.
    std::unique_ptr<Workspace> workspace;
  };

  void TakeBack(std::unique_ptr<Workspace> workspace);

  mutable std::mutex mutex_;
  // The caller that has waited longest comes first. While one waits, every workspace is made and lent.
  std::list<Waiting*> waiting_;
  std::vector<std::unique_ptr<Workspace>> free_;
  // The number of workspaces not made yet.
  int unmade_count_;
};

class StepWorkspaces {
 public:
  using Lease = WorkspacePool<StepWorkspace>::Lease;
  using TileLease = WorkspacePool<TileWorkspace>::Lease;

  // REQUIRES: count >= 1; helper_count >= 0.
  explicit StepWorkspaces(int count, int helper_count = 0)
      : steps_(count), tiles_(std::max(1, count / 2)), crew_(helper_count) {}
  // Twice the processors, so a short step seldom waits for long ones. The crew and its caller together occupy each
  // processor once.
  StepWorkspaces();

  // Blocks until a workspace is free for this caller. Callers get one in the order in which they came, so each waits
  // for at most one step of each other caller. Of several free ones it lends the one given back last: it is the
  // likeliest to be in the cache. Errors: CANCELLED, DEADLINE_EXCEEDED as soon as `context` is given up. REQUIRES: the
  // calling thread holds no lease.
  absl::StatusOr<Lease> Lend(const RequestContext& context) { return steps_.Lend(context); }
  // The same for tiles, of which there are half as many: one for each processor. The caller keeps a tile while its rows
  // take their steps, and so lends step workspaces while it holds one. REQUIRES: it holds no lease yet, of either kind.
  absl::StatusOr<TileLease> LendTile(const RequestContext& context) { return tiles_.Lend(context); }

  // Helpers for the steps of one message that may run at once, each with a lease of its own.
  StepCrew& crew() { return crew_; }

  // The number of callers that wait for a step's workspace at the moment.
  int waiting_count() const { return steps_.waiting_count(); }

 private:
  WorkspacePool<StepWorkspace> steps_;
  WorkspacePool<TileWorkspace> tiles_;
  // Last, because its threads end before what they use.
  StepCrew crew_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STEP_WORKSPACES_H_
