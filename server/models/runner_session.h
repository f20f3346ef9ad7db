// One request's use of one runner.
//
//   RunnerSession session(scheduler);
//   RETURN_IF_ERROR(session.Reserve({1, 300, 300}, "prompt", context));  // room in the runner's cache
//   int64_t sequence = session.NewSequence();
//   auto rows = session.Evaluate({work}, context);                       // blocks until the rows are there
//
// Requests use this class through ModelSession (model_session.h), which survives a lost runner.
#ifndef LOGITD_SERVER_MODELS_RUNNER_SESSION_H_
#define LOGITD_SERVER_MODELS_RUNNER_SESSION_H_

#include <cstdint>
#include <memory>
#include <span>
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

// Tokens by which a sequence's room grows at a time, also the first time.
inline constexpr int64_t kGrowTokens = 64;

// The part of a runner's cache that a session needs.
struct RoomNeeded {
  int32_t sequences = 1;
  // Tokens that the session begins with. It takes more room as it grows.
  int64_t tokens = 0;
  // Tokens that it may grow to.
  int64_t most_tokens = 0;
  // The first tokens that the session will evaluate, as far as they are known. Looked at by ModelSession::Reserve
  // alone.
  std::span<const TokenId> begins_with = {};
};

// The requests with which a session shares what the runner's cache holds.
struct CacheScope {
  // Those of the same tenant.
  std::string tenant;
  // None: the session copies only its own sequences, and leaves none behind.
  bool is_private = false;
  // Set: the session evaluates one sequence at a time, each by itself (SequenceWork::is_isolated), on runners of this
  // platform. It is then private, too.
  std::optional<RunnerPlatform> isolated_on = std::nullopt;
};

// Sequences and their share of a runner's cache. One thread. The destructor gives back everything that the session
// holds.
class RunnerSession {
 public:
  // `age`: the request's age, from NewAge().
  explicit RunnerSession(std::shared_ptr<BatchScheduler> scheduler, int64_t age = NewAge(), CacheScope scope = {})
      : scheduler_(std::move(scheduler)), share_{age}, is_private_(scope.is_private), tenant_(TenantOf(scope, age)) {}
  ~RunnerSession();

  RunnerSession(const RunnerSession&) = delete;
  RunnerSession& operator=(const RunnerSession&) = delete;

  // The name of the scope in the cache.
  static std::string TenantOf(const CacheScope& scope, int64_t age) {
    return scope.is_private ? "session " + std::to_string(age) : "tenant " + scope.tenant;
  }

  // A number for the sessions of one request, larger than all numbers before. Thread-safe.
  static int64_t NewAge();

  // Waits for room in the runner's cache, in place of any room that the session has. A suspended session begins again
  // without sequences, and keeps its turn. REQUIRES: the session has no sequences.
  // `field`: the request's field that the error names.
  // Errors: LIMIT_EXCEEDED if the room can never fit; CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST.
  absl::Status Reserve(const RoomNeeded& room, const std::string& field, const RequestContext& context);
  // Instead of Reserve: the session isolates its sequences, and needs no room.
  void BeginIsolated();
  // Whether the session has lost its room, and its sequences with it, to an older session. All further work fails with
  // kAborted. Results of work that the runner already has still arrive.
  bool is_suspended() const;

  // A new number for a sequence or a decoder.
  int64_t NewSequence();
  // Frees a sequence's cache. A final sequence (SequenceWork::is_final) stays there while there is room.
  void Release(int64_t sequence_id);
  // The sequence has been evaluated, holds `tokens` and will not change: others may copy it.
  void Publish(int64_t sequence_id, const std::vector<TokenId>& tokens);
  // As Release, for a sequence that has been evaluated and holds `tokens`. It stays in the cache while there is room,
  // for others to copy.
  void Keep(int64_t sequence_id, std::vector<TokenId> tokens);

  // Evaluates all of `work` together, with at most one entry per sequence. Returns one result per entry, in order.
  // `ahead`: work that goes on from `work` (SequenceWork::append_chosen). It is on its way when this returns.
  // Waits for more room if `work` needs it. `ahead` does not wait: if there is no room for it, it is not sent.
  // Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST, kAborted (is_suspended()). An entry that fails by itself says so
  // in its SequenceRows.status.
  absl::StatusOr<std::vector<SequenceRows>> Evaluate(std::vector<SequenceWork> work, const RequestContext& context,
                                                     std::vector<SequenceWork> ahead = {});
  // Returns the results of the work that is ahead, in its order. The new `ahead` goes on from that work. REQUIRES:
  // has_ahead().
  absl::StatusOr<std::vector<SequenceRows>> EvaluateAhead(const RequestContext& context,
                                                          std::vector<SequenceWork> ahead = {});
  bool has_ahead() const { return ahead_ != nullptr; }
  // Gives up the work that is ahead, if there is any.
  void DropAhead();
  // Whether the runner accepts a batch while it has another.
  bool can_run_ahead() const { return scheduler_->capacity().max_batches_in_flight > 1; }
  // From now on no other session's work shares a batch with this one's. `is_quiet`: the runner also has no texts
  // meanwhile.
  void SetAlone(bool is_alone, bool is_quiet) {
    is_alone_ = is_alone;
    is_quiet_ = is_alone && is_quiet;
  }

  // After RUNNER_LOST: what the loss says about this session's work, and the runner's own signal if it ended by one.
  Suspicion suspicion() const { return suspicion_; }
  const std::string& signal() const { return signal_; }

  const RunnerCapacity& capacity() const { return scheduler_->capacity(); }

  bool is_of(const BatchScheduler& scheduler) const { return scheduler_.get() == &scheduler; }

  // Sequences that failed after their rows had been delivered, with the error for the next work on them. The
  // scheduler's.
  std::unordered_map<int64_t, absl::Status>& dropped() { return dropped_; }

 private:
  friend class BatchScheduler;

  absl::StatusOr<std::vector<SequenceRows>> WaitFor(std::shared_ptr<Job> job, const RequestContext& context,
                                                    std::vector<SequenceWork> ahead);
  // Tokens in the cache after `work`.
  int64_t TokensAfter(const std::vector<SequenceWork>& work) const;
  // The same, and room for the steps that follow.
  int64_t RoomFor(const std::vector<SequenceWork>& work) const;

  std::shared_ptr<BatchScheduler> scheduler_;
  // The scheduler's.
  CacheShare share_;
  const bool is_private_;
  const std::string tenant_;
  std::vector<int64_t> sequence_ids_;
  // The session has reserved room. The scheduler does not count a session that never has.
  bool has_room_ = false;
  int64_t most_tokens_ = 0;
  // Tokens that the sequences hold in the cache. Shared tokens count once.
  CachedTokens cached_;
  // The work that is on its way and has not been waited for.
  std::shared_ptr<Job> ahead_;
  bool is_alone_ = false;
  bool is_quiet_ = false;
  bool is_isolated_ = false;
  std::unordered_map<int64_t, absl::Status> dropped_;
  Suspicion suspicion_ = Suspicion::kNone;
  std::string signal_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_SESSION_H_
