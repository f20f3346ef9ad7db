// One request's use of one runner.
//
//   RunnerSession session(scheduler);
//   RETURN_IF_ERROR(session.Reserve({1, 300, 300}, "prompt", context));  // room in the runner's cache
//   int64_t sequence = session.NewSequence();
//   auto rows = session.Evaluate({work}, context);                       // blocks until the rows are there
//
// Requests do not use this class directly, but through ModelSession (model_session.h), which survives a lost runner.
#ifndef LOGITD_SERVER_MODELS_RUNNER_SESSION_H_
#define LOGITD_SERVER_MODELS_RUNNER_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/batch_scheduler.h"
#include "server/models/cache_room.h"
#include "server/models/cached_tokens.h"
#include "server/models/model_description.h"
#include "server/models/sent_batch.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

// Tokens that a growing sequence takes room for at a time, the first time too.
inline constexpr int64_t kGrowTokens = 64;

// How much of a runner's cache a session needs.
struct RoomNeeded {
  int32_t sequences = 1;
  // That it begins with. It takes more when it comes to that.
  int64_t tokens = 0;
  // That it may come to.
  int64_t most_tokens = 0;
};

// Sequences and a share of the cache. One thread. What it holds is given back when it ends.
class RunnerSession {
 public:
  // `age`: of the request, NewAge().
  explicit RunnerSession(std::shared_ptr<BatchScheduler> scheduler, int64_t age = NewAge())
      : scheduler_(std::move(scheduler)), share_{age} {}
  ~RunnerSession();

  RunnerSession(const RunnerSession&) = delete;
  RunnerSession& operator=(const RunnerSession&) = delete;

  // A number for a request's sessions, larger than all before. Thread-safe.
  static int64_t NewAge();

  // Waits for room in the runner's cache, instead of what it held before; whoever was suspended begins again, without
  // sequences, and keeps its turn. REQUIRES: it has no sequences.
  // `field`: of the request, named if it can never fit.
  // Errors: LIMIT_EXCEEDED if it can never fit; CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST.
  absl::Status Reserve(const RoomNeeded& room, const std::string& field, const RequestContext& context);
  // It lost its room, to an older one, and its sequences with it: all that is asked of it fails with kAborted. What
  // it is about to be given comes all the same.
  bool is_suspended() const;

  // A new sequence number.
  int64_t NewSequence();
  // Frees a sequence's cache.
  void Release(int64_t sequence_id);

  // Evaluates all of `work` together, at most one entry per sequence. Shapes: one result per work, in order.
  // `ahead`: what goes on from it (SequenceWork::append_chosen), and is on its way when this returns.
  // Waits for more room, if it takes that; what is ahead does not wait, and is not sent then.
  // Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST, kAborted (is_suspended); what fails for one entry is in its
  // SequenceRows.status.
  absl::StatusOr<std::vector<SequenceRows>> Evaluate(std::vector<SequenceWork> work, const RequestContext& context,
                                                     std::vector<SequenceWork> ahead = {});
  // The results of what is ahead, in its order; `ahead` goes on from that. REQUIRES: has_ahead().
  absl::StatusOr<std::vector<SequenceRows>> EvaluateAhead(const RequestContext& context,
                                                          std::vector<SequenceWork> ahead = {});
  bool has_ahead() const { return ahead_ != nullptr; }
  // Gives up what is ahead, if there is anything.
  void DropAhead();
  // Whether it is of any use.
  bool can_run_ahead() const { return scheduler_->capacity().max_batches_in_flight > 1; }
  // From now on no other session's work is in a batch with this one's; `is_quiet`: nor has the runner any texts then.
  void SetAlone(bool is_alone, bool is_quiet) {
    is_alone_ = is_alone;
    is_quiet_ = is_alone && is_quiet;
  }

  // After RUNNER_LOST: what that says of this session's work, and the signal if the runner ended by one of its own.
  Suspicion suspicion() const { return suspicion_; }
  const std::string& signal() const { return signal_; }

  const RunnerCapacity& capacity() const { return scheduler_->capacity(); }

  bool is_of(const BatchScheduler& scheduler) const { return scheduler_.get() == &scheduler; }

  // Sequences that failed after their rows had been given: the next work on them fails so. The scheduler's.
  std::unordered_map<int64_t, absl::Status>& dropped() { return dropped_; }

 private:
  friend class BatchScheduler;

  absl::StatusOr<std::vector<SequenceRows>> WaitFor(std::shared_ptr<Job> job, const RequestContext& context,
                                                    std::vector<SequenceWork> ahead);
  // Tokens in the cache after `work`.
  int64_t TokensAfter(const std::vector<SequenceWork>& work) const;
  // With some for the steps after it.
  int64_t RoomFor(const std::vector<SequenceWork>& work) const;

  std::shared_ptr<BatchScheduler> scheduler_;
  // The scheduler's.
  CacheShare share_;
  std::vector<int64_t> sequence_ids_;
  // It has reserved some; a session that never did so is not counted.
  bool has_room_ = false;
  int64_t most_tokens_ = 0;
  // Tokens in the cache, as often as they are there: what a sequence shares with others counts once.
  CachedTokens cached_;
  // What is on its way and not waited for yet.
  std::shared_ptr<Job> ahead_;
  bool is_alone_ = false;
  bool is_quiet_ = false;
  std::unordered_map<int64_t, absl::Status> dropped_;
  Suspicion suspicion_ = Suspicion::kNone;
  std::string signal_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_SESSION_H_
