// Puts the work of many requests into batches for one runner. Requests use it through RunnerSession (runner_session.h).
// batch_scheduler.cc begins with a worked example.
//
// - Batches form themselves: while the runner works, the next batch gathers. When the runner becomes free, everything
//   that is ready goes into that batch.
// - Running ahead: work that appends a token which the runner itself chooses in a batch (SequenceWork::append_chosen)
//   is sent while the runner still has that batch, together with everything else that is ready. The runner then need
//   not wait for the server between two steps. At most one batch is ahead, and never beside work that is alone.
// - A call returns as soon as its own rows are there, even if the batch goes on. The sessions that got rows are given a
//   moment to come back with their next tokens, so that sequences stay in step instead of taking turns.
// - Fairness: every batch holds the next tokens of all running sequences. Each other piece first gets up to kFairTokens
//   tokens, in order of arrival; the rest of the batch goes to the longer pieces, in order of arrival.
// - Beside running sequences the batch is short (batch_budget.h), and the next batch is not sent while a longer piece
//   has a part in the batch before. A long prompt thus neither holds up running sequences nor stands still.
// - A session that is suspected of killing runners is evaluated alone: its batches hold no other session's work, and
//   alternate with the batches of the others. If necessary it is also evaluated quietly: the runner gets no texts while
//   quiet work waits or is evaluated.
// - A reproducible request's sequence is isolated. It has batches of its own as above, each of at most kIsolatedTokens
//   tokens, however busy the runner is. The runner has one such sequence at a time.
// - Every thread waits on a condition of its own: a call for its rows, a reservation for its room, the dispatcher for
//   its turn. A thousand waiting calls cost the others nothing.
//
// cache_room.h decides who has room in the runner's cache.
//
// Free of gRPC and protobuf; thread-safe. It uses std::mutex only, so that ThreadSanitizer sees everything.
#ifndef LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_
#define LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/batch_budget.h"
#include "server/models/cache_room.h"
#include "server/models/model_description.h"
#include "server/models/prefix_cache.h"
#include "server/models/runner_link.h"
#include "server/models/sent_batch.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

class RunnerSession;

// The suspicion that a runner's end casts on a session's work.
enum class Suspicion {
  // Nothing: the runner was killed, fell silent, left or had no work, or the reason is unknown.
  kNone,
  // The runner ended by a signal of its own, and did not have this session's work at that time.
  kBystander,
  // The runner ended by a signal of its own while it had this session's work.
  kSuspect,
  // As kSuspect, for work that was alone but not quiet: the runner also had texts, and a text may have been the reason.
  kDoubt,
};

// Sequences that stay in a runner's cache after their requests, and the tokens that they alone hold there.
struct KeptInCache {
  int64_t sequences = 0;
  int64_t tokens = 0;
};

class BatchScheduler {
 public:
  // `sharing`: what the runner can do with cached sequences.
  BatchScheduler(const ModelDescription& model, const RunnerCapacity& capacity, std::shared_ptr<RunnerLink> link,
                 CacheSharing sharing = {});
  ~BatchScheduler();

  BatchScheduler(const BatchScheduler&) = delete;
  BatchScheduler& operator=(const BatchScheduler&) = delete;

  // Takes a part of the answer to batch `batch_id`; `final`: the last part. Must not be called from two threads at
  // once.
  // Errors: RUNNER_PROTOCOL for output that was not asked for; no part of `outputs` is then given to any session.
  absl::Status OnOutput(int64_t batch_id, std::vector<PieceOutput> outputs, bool final);
  // Sends no more batches.
  void StopBatches();
  // The runner is gone. All waiting and all later work fails with `status`. `own_signal`: the signal of its own by
  // which the runner ended, or empty.
  void OnLost(const absl::Status& status, const std::string& own_signal = "");

  // Enclose each call of the runner's tokenizer until it is answered. BeginText waits while quiet work waits or is
  // evaluated. Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST.
  absl::Status BeginText(const RequestContext& context);
  void EndText();
  int open_texts() const;

  const RunnerCapacity& capacity() const { return capacity_; }
  // The part of the cache that is promised to sessions, including those that still wait for it. 1 is all of it. An
  // isolated session, which takes a runner's time and not its cache, counts as half.
  double load() const;
  // The kept remains of sequences whose requests have ended.
  KeptInCache kept() const;
  // Whether the cache has at least half of these tokens for the tenant, or will have them soon.
  bool Knows(const std::string& tenant, std::span<const TokenId> tokens) const;
  // Number of SequenceWorks that wait for a batch.
  size_t waiting_count() const;
  // Whether the runner has had its batch for longer than the batch's time limit plus a grace period: as long again, and
  // at least a minute.
  bool IsOverdue(std::chrono::steady_clock::time_point now) const;

 private:
  friend class RunnerSession;

  // A session that waits for room. Lives on the stack of the session's thread.
  struct RoomWait {
    bool has_room = false;
    std::condition_variable_any changed;
  };
  // A SequenceWork that waits, from token `offset` on.
  struct Pending {
    std::shared_ptr<Job> job;
    size_t index = 0;
    size_t offset = 0;
    // The batch that held its latest piece; 0: no piece has been sent.
    int64_t last_batch_id = 0;
  };
  // A piece that goes into the next batch. `begin`: the index of its first token in the SequenceWork.
  struct Taken {
    std::list<Pending>::iterator pending;
    size_t begin = 0;
    SequenceWork piece;
  };

  // `after`: the job that `work` goes on from, if that is still on its way; else null.
  std::shared_ptr<Job> Begin(RunnerSession* session, std::vector<SequenceWork> work, std::shared_ptr<Job> after,
                             const RequestContext& context);
  absl::StatusOr<std::vector<SequenceRows>> Wait(RunnerSession* session, const std::shared_ptr<Job>& job,
                                                 const RequestContext& context);
  // The caller no longer waits for the job.
  void Abandon(const std::shared_ptr<Job>& job);
  // The session has no more work for now.
  void StopExpecting(RunnerSession* session);
  // The status of a session whose runner is lost; also tells the session its Suspicion. REQUIRES: mutex_ is held.
  absl::Status TellLost(RunnerSession* session) const;
  // Replaces the session's room by `sequences` and `tokens`; waits until that much is free.
  // Errors: as RunnerSession::Evaluate; kAborted: the session is suspended.
  absl::Status AcquireRoom(RunnerSession* session, int32_t sequences, int64_t tokens, const RequestContext& context);
  // Waits until the session has room for at least `needed` tokens. If it has less, it takes `tokens`. Errors: as
  // AcquireRoom.
  absl::Status GrowRoom(RunnerSession* session, int64_t needed, int64_t tokens, const RequestContext& context);
  // As GrowRoom, without waiting. False: it would have to wait.
  bool TryToGrowRoom(RunnerSession* session, int64_t needed, int64_t tokens);
  // REQUIRES: the session has asked for room; `lock` holds mutex_.
  absl::Status WaitForRoom(RunnerSession* session, const RequestContext& context, std::unique_lock<std::mutex>& lock);
  // The session will isolate its sequences, and reserves no room.
  void BeginIsolated();
  void LeaveSession(RunnerSession* session);
  int64_t NewSequence(RunnerSession* session);
  // Frees the sequence, or keeps it in the cache if it is published.
  void ReleaseSequence(RunnerSession* session, int64_t sequence_id);
  // The sequence holds `tokens` and will not change: it is kept in the cache while there is room. A part of a batch
  // that it has at the runner is waited for.
  void KeepSequence(RunnerSession* session, int64_t sequence_id, std::vector<TokenId> tokens);

  // The following are in shared_prefixes.cc. REQUIRES: mutex_ is held.
  // Queues the job's work for a batch. Waits first while other work evaluates tokens that it begins with too.
  void Queue(const std::shared_ptr<Job>& job, const RequestContext& context, std::unique_lock<std::mutex>& lock);
  // Whether other work will soon have much more of the job's tokens than the cache has.
  bool MustWaitForOthers(const Job& job) const;
  // Queues the parked jobs that need not wait any more.
  void Unpark();
  // Notes the work's tokens in the cache, and lets work that begins from the cache begin with what is there.
  void PlaceInCache(Job& job);
  // The job's work has ended; its final sequences are published if it is done.
  void EndInCache(const Job& job, bool is_done);
  // The job no longer needs the sequence that its work copies.
  void UnpinSource(const SequenceWork& work);
  // The session needs these sequences no more.
  void GiveUpSequences(RunnerSession& session);
  void GiveUp(int64_t sequence_id, bool is_private);
  // Keeps or frees the sequences whose last work is in `batch`, which is answered.
  void KeepAnswered(const SentBatch& batch);
  // Tells room_ what cannot be freed now.
  void NotePinned();
  // Frees kept sequences that are in the way of what sessions have reserved.
  void ShrinkCache();

  void Dispatch();
  // Whether a batch should be sent now.
  bool CanSend() const;
  // Whether another session's isolated sequence is in the way.
  bool IsBehindIsolated(const Job& job) const;
  // The session's isolated sequence, if it has one, has ended.
  void EndIsolation(const RunnerSession* session);
  // Whether this work may be in the next batch.
  bool IsReady(const Pending& pending) const;
  // Until when a batch that could be sent waits for the expected sessions.
  std::chrono::steady_clock::time_point GatherUntil(std::chrono::steady_clock::time_point gathering_since) const;
  // The runner begins with the first of the batches that it has.
  void BeginBatch();
  // Removes from waiting_ all work for which `predicate` is true.
  template <typename Predicate>
  void RemoveWaiting(Predicate predicate);
  // The job that has the next batch to itself; null: the next batch is for all jobs that are not alone.
  const Job* NextAlone() const;
  // Whether any work can go into a batch now. Quiet work cannot while the runner has texts.
  bool HasReadyWork() const;
  bool HasQuietWork() const;
  Batch TakeBatch();
  // Takes the pieces of the next batch: those of job `alone`, or, if null, those of all jobs that are not alone. Fills
  // in `content`.
  std::vector<Taken> TakePieces(const Job* alone, BatchBudget::Content& content);
  // Moves up to `max_tokens` more tokens from `pending` to `piece`.
  void ExtendPiece(Pending& pending, SequenceWork& piece, size_t max_tokens) const;
  // Fails waiting work on sequences that the runner has dropped. REQUIRES: mutex_ is held.
  void FailDropped();
  // One SequenceWork of the job is done. If it was the last, adds the job to `finished`, which the caller wakes.
  // REQUIRES: mutex_ is held.
  void CountWork(const std::shared_ptr<Job>& job, std::vector<std::shared_ptr<Job>>& finished);
  // Gives out room as far as it goes, and suspends sessions where that is necessary. REQUIRES: mutex_ is held.
  void SettleRoom();
  // The session loses its sequences and all work that the runner does not have yet. REQUIRES: mutex_ is held.
  void Suspend(RunnerSession& session);
  // Wakes the dispatcher if it has something to do. REQUIRES: mutex_ is held.
  void WakeDispatcher();
  // Wakes waiting texts if no quiet work is left. REQUIRES: mutex_ is held.
  void WakeTexts();

  const std::string model_name_;
  const RunnerCapacity capacity_;
  const std::shared_ptr<RunnerLink> link_;

  mutable std::mutex mutex_;
  // Held while a message is sent, so that no cancel overtakes its batch. Taken after mutex_, or without it.
  std::mutex send_mutex_;
  std::condition_variable dispatcher_woken_;
  // The session whose sequence is isolated at the runner. Other such sessions wait until it releases that. Null: none.
  const RunnerSession* isolated_ = nullptr;
  int isolated_sessions_ = 0;
  // Only texts wait on it.
  std::condition_variable_any quiet_is_over_;
  absl::Status lost_;
  std::string own_signal_;
  // The sessions whose work the runner had when it was lost, including those that had their rows already: their batch
  // had not ended. All other sessions are bystanders.
  std::unordered_map<const RunnerSession*, Suspicion> suspects_;
  bool stopping_ = false;
  bool sends_batches_ = true;
  std::list<Pending> waiting_;
  std::vector<int64_t> releases_;
  int64_t last_batch_id_ = 0;
  // The batches that the runner has, in order. It works on the first.
  std::deque<SentBatch> sent_;
  std::chrono::steady_clock::time_point batch_begun_;
  std::chrono::steady_clock::time_point runner_free_since_;
  std::chrono::steady_clock::duration last_batch_time_{0};
  // Calls of the tokenizer that the runner has, or is about to get.
  int open_texts_ = 0;
  // Whether the last batch was that of a session alone.
  bool was_alone_ = false;
  std::chrono::steady_clock::time_point overdue_at_;
  // Sessions that got their rows and are expected to come back with more work, or to leave.
  std::set<RunnerSession*> expected_;
  // The sessions of the last batch with steps that have not left.
  std::set<const RunnerSession*> stepping_;
  // The dispatcher has work, and waits for the expected sessions.
  bool is_gathering_ = false;
  int64_t last_sequence_id_ = 0;
  const int32_t max_batches_in_flight_;
  CacheRoom room_;
  // All sessions that have room or wait for it.
  std::map<const CacheShare*, RunnerSession*> sharers_;
  std::map<const RunnerSession*, RoomWait*> room_waits_;
  PrefixCache cache_;
  // The jobs whose work begins from the cache and is on its way, in order of arrival.
  std::vector<const Job*> placed_jobs_;
  // The jobs that wait for tokens of these, in order of arrival.
  std::vector<std::shared_ptr<Job>> parked_;
  // Notified when a job is no longer parked, or its session loses its room or its runner.
  std::condition_variable_any unparked_;
  // Sequences to keep as soon as the runner has answered their last work, with their tenant and tokens.
  struct KeepLater {
    std::string tenant;
    std::vector<TokenId> tokens;
  };
  std::map<int64_t, KeepLater> keep_later_;
  int64_t keep_later_tokens_ = 0;
  BatchBudget budget_;
  std::thread dispatcher_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_
