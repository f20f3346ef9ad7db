// Puts the work of many requests into batches for one runner.
//
//   RunnerSession session(scheduler);                      // one request's use of the runner
//   RETURN_IF_ERROR(session.Reserve(1, 300, context));     // room in the runner's cache
//   int64_t sequence = session.NewSequence();
//   auto rows = session.Evaluate({work}, context);         // blocks until the rows are there
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
// Fairness: in every batch each waiting piece of work first gets up to kFairTokens tokens, in order of arrival; what is
// left of the batch goes to the longer ones, in order of arrival. So a long prompt cannot hold up running sequences
// for longer than one batch.
//
// A session that is suspected of killing runners is evaluated alone: no other session's work is in its batches. They
// take turns with the others' batches. If need be it is evaluated quietly: while its batch waits and is there, the
// runner gets no texts.
//
// Requests do not use this class directly, but through ModelSession (model_session.h), which survives a lost runner.
//
// Free of gRPC and protobuf; thread-safe; std::mutex only (so that ThreadSanitizer sees everything).
#ifndef LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_
#define LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/runner_link.h"
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

  // One Evaluate call.
  struct Job {
    // Null: it is gone.
    RunnerSession* session = nullptr;
    std::chrono::system_clock::time_point deadline;
    std::vector<SequenceWork> work;
    // OnOutput's, until nothing is unfinished; then the caller's.
    std::vector<SequenceRows> results;
    // Works that have not got all of their rows yet.
    size_t unfinished = 0;
    // Works that are waiting, whole or in part.
    size_t unsent = 0;
    // It goes on from this one, and is sent after it; until it is sent.
    std::shared_ptr<Job> after;
    bool abandoned = false;
    // No other session's work may be in its batches.
    bool is_alone = false;
    // Nor may the runner have texts.
    bool is_quiet = false;

    // What the caller sleeps on. A lock of its own, so that those who wake up together do not queue for the
    // scheduler's.
    std::mutex wake_mutex;
    std::condition_variable_any woken;
    enum class End { kNone, kRows, kLost };
    End end = End::kNone;
    // From any thread, without the scheduler's lock or with it.
    void Wake(End how);
  };
  // A SequenceWork that is waiting, from token `offset` on.
  struct Pending {
    std::shared_ptr<Job> job;
    size_t index = 0;
    size_t offset = 0;
    // Its latest piece was in; 0: none was sent.
    int64_t last_batch_id = 0;
  };
  // A piece that the runner has.
  struct InFlight {
    std::shared_ptr<Job> job;
    size_t index = 0;
    // Of each of the piece's requests: which of the work's it is of, its rows, and those that have come.
    struct Rows {
      size_t request_index = 0;
      int32_t expected = 0;
      int32_t received = 0;
    };
    std::vector<Rows> rows;
    // Of all of them together.
    int64_t rows_missing = 0;
    bool last_piece = false;
    bool failed = false;
    // It is the end of its work, and counted as such.
    bool is_counted = false;
  };
  // A batch that the runner has, and has not ended.
  struct SentBatch {
    int64_t id = 0;
    // Of one session that must be alone.
    bool is_alone = false;
    // How long the runner may work on it.
    std::chrono::milliseconds time_limit{0};
    // By sequence.
    std::unordered_map<int64_t, InFlight> entries = {};
  };
  // A session that waits for room in the cache; lives on its thread's stack.
  struct RoomRequest {
    int32_t sequences = 0;
    int64_t tokens = 0;
    // It was taken from the queue, and the room is its own.
    bool has_room = false;
    std::condition_variable_any changed;
  };
  // What came for a work, and where it belongs.
  struct Arrival {
    std::shared_ptr<Job> job;
    size_t index = 0;
    // Of the work's requests.
    size_t request = 0;
    PieceOutput* output = nullptr;
    // It is the last that comes for the work.
    bool is_end = false;
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
  absl::Status AcquireRoom(RunnerSession* session, int32_t sequences, int64_t tokens, const std::string& field,
                           const RequestContext& context);
  void LeaveSession(RunnerSession* session, int32_t sequences, int64_t tokens, std::vector<int64_t> sequence_ids);
  void ReleaseSequences(std::vector<int64_t> sequence_ids);

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
  // Takes up to `max_tokens` more tokens of `pending` into `piece`.
  void ExtendPiece(Pending& pending, WorkPiece& piece, size_t max_tokens) const;
  // The parts of the requests that are of the piece's tokens, which begin at token `offset` of the work.
  static void AddRows(const SequenceWork& work, size_t offset, WorkPiece& piece, InFlight& entry);
  // Counts what has come against what was asked for. REQUIRES: mutex_ is held.
  absl::StatusOr<std::vector<Arrival>> CountOutputs(std::vector<PieceOutput>& outputs, bool final);
  static int64_t RowCountOf(const InFlight& entry);
  // Fails what waits for sequences that the runner has dropped. REQUIRES: mutex_ is held.
  void FailDropped();
  // One work less of the job; a job that is finished is added to `finished`, to be woken. REQUIRES: mutex_ is held.
  void CountWork(const std::shared_ptr<Job>& job, std::vector<std::shared_ptr<Job>>& finished);
  // Gives room to those who have waited longest, as far as it goes. REQUIRES: mutex_ is held.
  void GrantRoom();
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
  // The dispatcher has work, and waits for them.
  bool is_gathering_ = false;
  int64_t last_sequence_id_ = 0;
  const int32_t max_batches_in_flight_;
  int32_t free_sequences_;
  int64_t free_tokens_;
  std::list<RoomRequest*> room_queue_;
  // Of all in the queue.
  int64_t queued_tokens_ = 0;
  std::thread dispatcher_;
};

// One request's use of a runner: its sequences and its share of the cache. One thread. What it holds is given back when
// it ends.
class RunnerSession {
 public:
  explicit RunnerSession(std::shared_ptr<BatchScheduler> scheduler) : scheduler_(std::move(scheduler)) {}
  ~RunnerSession();

  RunnerSession(const RunnerSession&) = delete;
  RunnerSession& operator=(const RunnerSession&) = delete;

  // Waits for room for so many sequences and tokens in the runner's cache, instead of what it held before.
  // `field`: of the request, named if it can never fit.
  // Errors: LIMIT_EXCEEDED if it can never fit; CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST.
  absl::Status Reserve(int32_t sequences, int64_t tokens, const std::string& field, const RequestContext& context);

  // A new sequence number.
  int64_t NewSequence();
  // Frees a sequence's cache.
  void Release(int64_t sequence_id);

  // Evaluates all of `work` together, at most one entry per sequence. Shapes: one result per work, in order.
  // `ahead`: what goes on from it (SequenceWork::append_chosen), and is on its way when this returns.
  // Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST; what fails for one entry is in its SequenceRows.status.
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

 private:
  friend class BatchScheduler;

  absl::StatusOr<std::vector<SequenceRows>> WaitFor(std::shared_ptr<BatchScheduler::Job> job,
                                                    const RequestContext& context, std::vector<SequenceWork> ahead);

  std::shared_ptr<BatchScheduler> scheduler_;
  std::vector<int64_t> sequence_ids_;
  // What is on its way and not waited for yet.
  std::shared_ptr<BatchScheduler::Job> ahead_;
  bool is_alone_ = false;
  bool is_quiet_ = false;
  // Sequences that failed after their rows had been given: the next work on them fails so. The scheduler's.
  std::unordered_map<int64_t, absl::Status> dropped_;
  Suspicion suspicion_ = Suspicion::kNone;
  std::string signal_;
  int32_t reserved_sequences_ = 0;
  int64_t reserved_tokens_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_
