// Puts the work of many requests into batches for one runner.
//
//   RunnerSession session(scheduler);                      // one request's use of the runner
//   RETURN_IF_ERROR(session.Reserve(1, 300, context));     // room in the runner's cache
//   int64_t sequence = session.NewSequence();
//   auto rows = session.Evaluate({work}, context);         // blocks until the rows are there
//
// Each call that waits is woken by its own rows, or by its own room: a thousand of them cost no more than those that
// have something to do. A job is answered as soon as its last row is there, while the rest of its batch is still
// computed.
//
// Whatever is ready when the runner becomes free goes into its next batch. The runner has one batch at a time: while it
// works, the next one gathers. After a batch, the sessions that got rows are given a moment to come back with their
// next tokens, so that sequences that were stepped together stay together instead of taking turns.
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

  // A part of the answer to batch `batch_id`; `final`: the last part.
  // Errors: RUNNER_PROTOCOL, for what was not asked for.
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
    RunnerSession* session = nullptr;
    std::chrono::system_clock::time_point deadline;
    std::vector<SequenceWork> work;
    std::vector<SequenceRows> results;
    // Works that have not got all of their rows yet.
    size_t unfinished = 0;
    // Its rows are there, or the runner is lost.
    std::condition_variable_any changed;
    bool abandoned = false;
    // No other session's work may be in its batches.
    bool is_alone = false;
    // Nor may the runner have texts.
    bool is_quiet = false;
    Suspicion suspicion = Suspicion::kNone;
  };
  // A SequenceWork that is waiting, from token `offset` on.
  struct Pending {
    std::shared_ptr<Job> job;
    size_t index = 0;
    size_t offset = 0;
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
    // All of its rows were there before the batch's end, and its job knows.
    bool is_answered = false;
  };
  // A session that waits for room in the cache.
  struct RoomRequest {
    int32_t sequences = 0;
    int64_t tokens = 0;
    bool is_granted = false;
    // It is granted, or the runner is lost.
    std::condition_variable_any changed;
  };

  absl::StatusOr<std::vector<SequenceRows>> Evaluate(RunnerSession* session, std::vector<SequenceWork> work,
                                                     const RequestContext& context);
  // What to say to a session whose runner is lost. REQUIRES: mutex_ is held.
  absl::Status TellLost(RunnerSession* session, Suspicion suspicion) const;
  absl::Status AcquireRoom(RunnerSession* session, int32_t sequences, int64_t tokens, const std::string& field,
                           const RequestContext& context);
  void LeaveSession(RunnerSession* session, int32_t sequences, int64_t tokens, std::vector<int64_t> sequence_ids);
  void ReleaseSequences(std::vector<int64_t> sequence_ids);

  void Dispatch();
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
  // Takes the rows of one output. Errors: RUNNER_PROTOCOL.
  absl::Status TakeRows(InFlight& entry, PieceOutput output);
  // One more of its works has all that it will get.
  void FinishWork(Job& job);
  // A session that was given its rows is expected back with more work, or to leave.
  void StopExpecting(RunnerSession* session);
  // Gives room to those who wait for it, first come, first served: else many small requests could keep a large one out
  // for ever.
  void GrantRoom();
  // Wakes the dispatcher if it waits for what may have happened.
  void WakeDispatcher();

  const int32_t vocab_size_;
  const std::string model_name_;
  const RunnerCapacity capacity_;
  const std::shared_ptr<RunnerLink> link_;

  mutable std::mutex mutex_;
  // The dispatcher's own.
  std::condition_variable dispatcher_changed_;
  // What the dispatcher waits for: work (or its end), or only that the expected sessions are back.
  bool is_gathering_ = false;
  // The runner may have texts again.
  std::condition_variable_any texts_changed_;
  absl::Status lost_;
  std::string own_signal_;
  bool stopping_ = false;
  bool sends_batches_ = true;
  std::list<Pending> waiting_;
  std::vector<int64_t> releases_;
  int64_t last_batch_id_ = 0;
  // Not 0: the batch that the runner has.
  int64_t batch_in_flight_ = 0;
  // Calls of the tokenizer that the runner has, or will have soon.
  int open_texts_ = 0;
  // Whether the last batch was of one session alone.
  bool was_alone_ = false;
  std::chrono::steady_clock::time_point overdue_at_;
  std::unordered_map<int64_t, InFlight> in_flight_;
  std::set<RunnerSession*> expected_;
  int64_t last_sequence_id_ = 0;
  int32_t free_sequences_;
  int64_t free_tokens_;
  std::list<RoomRequest*> room_queue_;
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
  // Errors: CANCELLED, DEADLINE_EXCEEDED, RUNNER_LOST; what fails for one entry is in its SequenceRows.status.
  absl::StatusOr<std::vector<SequenceRows>> Evaluate(std::vector<SequenceWork> work, const RequestContext& context);
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

  std::shared_ptr<BatchScheduler> scheduler_;
  std::vector<int64_t> sequence_ids_;
  bool is_alone_ = false;
  bool is_quiet_ = false;
  Suspicion suspicion_ = Suspicion::kNone;
  std::string signal_;
  int32_t reserved_sequences_ = 0;
  int64_t reserved_tokens_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_BATCH_SCHEDULER_H_
