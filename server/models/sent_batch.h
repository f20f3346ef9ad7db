// What sessions have asked for, what of it a runner has, and what comes back.
#ifndef LOGITD_SERVER_MODELS_SENT_BATCH_H_
#define LOGITD_SERVER_MODELS_SENT_BATCH_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "server/models/batch_budget.h"
#include "server/models/work.h"

namespace logitd::server {

class RunnerSession;

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
  enum class End { kNone, kRows, kLost, kSuspended };
  End end = End::kNone;
  // From any thread, without the scheduler's lock or with it.
  void Wake(End how);
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
  BatchBudget::Content content = {};
  // How long the runner may work on it.
  std::chrono::milliseconds time_limit{0};
  // By sequence.
  std::unordered_map<int64_t, InFlight> entries = {};
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

// The parts of the requests that are of the piece's tokens, which begin at token `offset` of the work.
void AddRows(const SequenceWork& work, size_t offset, SequenceWork& piece, InFlight& entry);
// Adds `rows` to `result`. Those that come at once, as nearly always, are not copied.
void TakeRows(RequestRows rows, RequestRows& result);
// Counts what has come against what was asked for. `final`: nothing comes after it.
// Errors: RUNNER_PROTOCOL.
absl::StatusOr<std::vector<Arrival>> CountOutputs(SentBatch& batch, std::vector<PieceOutput>& outputs, bool final);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_SENT_BATCH_H_
