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

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/distribution.h"
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

class StepWorkspaces {
 public:
  // Must not outlive the StepWorkspaces that lent it.
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
  // Twice the processors, so a short step seldom waits for long ones. The crew and its caller together occupy each
  // processor once.
  StepWorkspaces();

  // Blocks until a workspace is free for this caller. Callers get one in the order in which they came, so each waits
  // for at most one step of each other caller. Of several free ones it lends the one given back last: it is the
  // likeliest to be in the cache. Errors: CANCELLED, DEADLINE_EXCEEDED as soon as `context` is given up. REQUIRES: the
  // calling thread holds no lease.
  absl::StatusOr<Lease> Lend(const RequestContext& context);

  // Helpers for the steps of one message that may run at once, each with a lease of its own.
  StepCrew& crew() { return crew_; }

  // The number of callers that wait at the moment.
  int waiting_count() const;

 private:
  // A waiting caller; lives on its thread's stack.
  struct Waiting {
    std::condition_variable_any changed;
    // The workspace, once the caller has it.
    std::unique_ptr<StepWorkspace> workspace;
  };

  void TakeBack(std::unique_ptr<StepWorkspace> workspace);

  mutable std::mutex mutex_;
  // The caller that has waited longest comes first. While one waits, every workspace is made and lent.
  std::list<Waiting*> waiting_;
  std::vector<std::unique_ptr<StepWorkspace>> free_;
  // The number of workspaces not made yet.
  int unmade_count_;
  // Last, because its threads end before what they use.
  StepCrew crew_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_STEP_WORKSPACES_H_
