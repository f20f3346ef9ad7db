// Puts the work of many requests into batches for one runner.
//
// Requests come to it by way of RunnerSession (runner_session.h).
//
// Whatever is ready when the runner becomes free goes into its next batch: while it works, the next one gathers. Work
// that goes on from what the runner chooses in a batch (SequenceWork::append_chosen) is sent, with all else that is
// ready, while the runner still has that batch, so that it need not wait for the server between two steps: one batch
// ahead at most, and never beside work that is alone.
//
// A call returns as soon as its own rows are there, although the batch goes on. The
// sessions that got rows are given a moment to come back with their next tokens, so that sequences that were stepped
// together stay together instead of taking turns.
//
// Whoever waits is woken by what it waits for alone: a call by its rows, a reservation by its room, the dispatcher by
// its turn. A thousand calls that wait cost the others nothing.
//
// Fairness: the next tokens of running sequences are in every batch. Of all else each waiting piece first gets up to
// kFairTokens tokens, in order of arrival; what is left of the batch goes to the longer ones, in order of arrival.
// Beside running sequences the batch is short (batch_budget.h), and the next one is not sent while a longer piece has
// one in the batch before: so a long prompt neither holds up running sequences nor stands still.
//
// Room in the runner's cache: cache_room.h.
//
// A session that is suspected of killing runners is evaluated alone: no other session's work is in its batches. They
// take turns with the others' batches. If need be it is evaluated quietly: while its batch waits and is there, the
// runner gets no texts.
//
// Free of gRPC and protobuf; thread-safe; std::mutex only (so that ThreadSanitizer sees everything).
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
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/batch_budget.h"
#include "server/models/cache_room.h"
#include "server/models/model_description.h"
#include "server/models/runner_link.h"
#include "server/models/sent_batch.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

class RunnerSession;

// What the end of its runner says of a session's work.
enum class Suspicion {
  // Nothing: the runner was killed, was silent, left, had no work, or nobody knows.
  kNone,
  // The runner ended by a signal of its own, and did not have this session's work at that time.
  kBystander,
  // The runner ended by a signal of its own while it had this session's work.
  kSuspect,
  // The same, of work that was alone but not quiet: the runner also had texts, and one of them may have been the
  // reason.
  kDoubt,
};

class BatchScheduler {
 public:
  BatchScheduler(const ModelDescription& model, const RunnerCapacity& capacity, std::shared_ptr<RunnerLink> link);
  ~BatchScheduler();

  BatchScheduler(const BatchScheduler&) = delete;
  BatchScheduler& operator=(const BatchScheduler&) = delete;

  // A part of the answer to batch `batch_id`; `final`: the last part. Not called from two threads at once.
  // Errors: RUNNER_PROTOCOL, for what was not asked for; nothing of that part is given to anybody then.
  absl::Status OnOutput(int64_t batch_id, std::vector<PieceOutput> outputs, bool final);
  // No batch is sent any more.
  void StopBatches();
  // The runner is gone: all waiting work fails with `status`, and so does all that comes later. `own_signal`: by which
  // signal of its own it ended, or empty.
  void OnLost(const absl::Status& status, const std::string& own_signal = "");

  // Around each call of the runner's tokenizer, until it is answered. The first waits while quiet work waits or is
  // evaluated. Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST.
  absl::Status BeginText(const RequestContext& context);
  void EndText();
  int open_texts() const;

  const RunnerCapacity& capacity() const { return capacity_; }
  // How much of the cache is promised to sessions, those that still wait for it included: 1 is all of it.
  double load() const;
  // Entries of work that wait for a batch.
  size_t waiting_count() const;
  // The runner has had its batch for the time that it was given and as long again, or a minute if that is more.
  bool IsOverdue(std::chrono::steady_clock::time_point now) const;

 private:
  friend class RunnerSession;

  // A session that waits for room; lives on its thread's stack.
  struct RoomWait {
    bool has_room = false;
    std::condition_variable_any changed;
  };
  // A SequenceWork that is waiting, from token `offset` on.
  struct Pending {
    std::shared_ptr<Job> job;
    size_t index = 0;
    size_t offset = 0;
    // Its latest piece was in; 0: none was sent.
    int64_t last_batch_id = 0;
  };
  // A part of a waiting work that goes into the next batch, and the work's tokens from which it begins.
  struct Taken {
    std::list<Pending>::iterator pending;
    size_t begin = 0;
    SequenceWork piece;
  };

  // `after`: what it goes on from, if that is on its way; else null.
  std::shared_ptr<Job> Begin(RunnerSession* session, std::vector<SequenceWork> work, std::shared_ptr<Job> after,
                             const RequestContext& context);
  absl::StatusOr<std::vector<SequenceRows>> Wait(RunnerSession* session, const std::shared_ptr<Job>& job,
                                                 const RequestContext& context);
  // Nobody waits for it any more.
  void Abandon(const std::shared_ptr<Job>& job);
  // The session has nothing more to ask for now.
  void StopExpecting(RunnerSession* session);
  // What to say to a session whose runner is lost. REQUIRES: mutex_ is held.
  absl::Status TellLost(RunnerSession* session) const;
  // Waits for room for so much, instead of what the session has. Errors: also kAborted, the session is suspended.
  absl::Status AcquireRoom(RunnerSession* session, int32_t sequences, int64_t tokens, const RequestContext& context);
  // Waits until the session has `needed` tokens at least; it takes `tokens` if it has fewer. Errors: as AcquireRoom.
  absl::Status GrowRoom(RunnerSession* session, int64_t needed, int64_t tokens, const RequestContext& context);
  // The same without waiting. False: it would have to.
  bool TryToGrowRoom(RunnerSession* session, int64_t needed, int64_t tokens);
  // REQUIRES: the session has asked; `lock` holds mutex_.
  absl::Status WaitForRoom(RunnerSession* session, const RequestContext& context, std::unique_lock<std::mutex>& lock);
  void LeaveSession(RunnerSession* session);
  int64_t NewSequence(RunnerSession* session);
  void ReleaseSequence(RunnerSession* session, int64_t sequence_id);

  void Dispatch();
  // Whether a batch is to be sent now.
  bool CanSend() const;
  // Whether it may be in the next batch.
  bool IsReady(const Pending& pending) const;
  // Until when a batch that can be sent waits for the expected sessions.
  std::chrono::steady_clock::time_point GatherUntil(std::chrono::steady_clock::time_point gathering_since) const;
  // The runner begins with the first batch that it has.
  void BeginBatch();
  // Takes what `predicate` says from those that wait.
  template <typename Predicate>
  void RemoveWaiting(Predicate predicate);
  // The job that the next batch is for alone; null: it is for all that are not alone.
  const Job* NextAlone() const;
  // Whether there is something for a batch now: not quiet work alone while the runner has texts.
  bool HasReadyWork() const;
  bool HasQuietWork() const;
  Batch TakeBatch();
  // What goes into it: of one job, or, with null, of all that are not alone.
  std::vector<Taken> TakePieces(const Job* alone, BatchBudget::Content& content);
  // Takes up to `max_tokens` more tokens of `pending` into `piece`.
  void ExtendPiece(Pending& pending, SequenceWork& piece, size_t max_tokens) const;
  // Fails what waits for sequences that the runner has dropped. REQUIRES: mutex_ is held.
  void FailDropped();
  // One work less of the job; a job that is finished is added to `finished`, to be woken. REQUIRES: mutex_ is held.
  void CountWork(const std::shared_ptr<Job>& job, std::vector<std::shared_ptr<Job>>& finished);
  // Gives room as far as it goes, and suspends whom that takes. REQUIRES: mutex_ is held.
  void SettleRoom();
  // The session's sequences are gone, and what of its work the runner does not have. REQUIRES: mutex_ is held.
  void Suspend(RunnerSession& session);
  // Wakes the dispatcher if it has something to do. REQUIRES: mutex_ is held.
  void WakeDispatcher();
  // Wakes the texts that wait, if they have waited long enough. REQUIRES: mutex_ is held.
  void WakeTexts();

  const std::string model_name_;
  const RunnerCapacity capacity_;
  const std::shared_ptr<RunnerLink> link_;

  mutable std::mutex mutex_;
  // Held while something is sent, so that no cancel can overtake its batch. Taken after mutex_, or without it.
  std::mutex send_mutex_;
  std::condition_variable dispatcher_woken_;
  // Texts alone wait on it.
  std::condition_variable_any quiet_is_over_;
  absl::Status lost_;
  std::string own_signal_;
  // The sessions whose work the runner had when it was lost, those that had got their rows already included: the batch
  // was not at its end. All others are bystanders.
  std::unordered_map<const RunnerSession*, Suspicion> suspects_;
  bool stopping_ = false;
  bool sends_batches_ = true;
  std::list<Pending> waiting_;
  std::vector<int64_t> releases_;
  int64_t last_batch_id_ = 0;
  // The batches that the runner has, in order: it works on the first.
  std::deque<SentBatch> sent_;
  std::chrono::steady_clock::time_point batch_begun_;
  std::chrono::steady_clock::time_point runner_free_since_;
  std::chrono::steady_clock::duration last_batch_time_{0};
  // Calls of the tokenizer that the runner has, or will have soon.
  int open_texts_ = 0;
  // Whether the last batch was of one session alone.
  bool was_alone_ = false;
  std::chrono::steady_clock::time_point overdue_at_;
  // Sessions that were given their rows, and are expected back with more work, or to leave.
  std::set<RunnerSession*> expected_;
  // Of the last batch with steps: those that have not left.
  std::set<const RunnerSession*> stepping_;
  // The dispatcher has work, and waits for them.
  bool is_gathering_ = false;
  int64_t last_sequence_id_ = 0;
  const int32_t max_batches_in_flight_;
  CacheRoom room_;
  // All sessions that have room or wait for it.
  std::map<const CacheShare*, RunnerSession*> sharers_;
  std::map<const RunnerSession*, RoomWait*> room_waits_;
  BatchBudget budget_;
  std::thread dispatcher_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_
