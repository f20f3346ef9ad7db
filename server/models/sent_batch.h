// Bookkeeping between sessions and one runner: the work that sessions asked for, the batches that the runner has, and
// the results that have come back.
#ifndef LOGITD_SERVER_MODELS_SENT_BATCH_H_
#define LOGITD_SERVER_MODELS_SENT_BATCH_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "server/models/batch_budget.h"
#include "server/models/work.h"

namespace logitd::server {

class RunnerSession;

// One call of Evaluate.
struct Job {
  // Null: the session has ended.
  RunnerSession* session = nullptr;
  std::chrono::system_clock::time_point deadline;
  std::vector<SequenceWork> work;
  // Written by OnOutput while any work is unfinished; afterwards the caller's.
  std::vector<SequenceRows> results;
  // For work that begins from the cache: all tokens of its sequence. Empty for other work, or if there is no such work.
  std::vector<std::vector<TokenId>> paths;
  // The tenant whose cached sequences it may copy.
  std::string tenant;
  // Works that still miss rows.
  size_t unfinished = 0;
  // Works that are still waiting, in whole or in part.
  size_t unsent = 0;
  // The job that this one goes on from, and after which it is sent. Null once this one is sent.
  std::shared_ptr<Job> after;
  bool abandoned = false;
  // No other session's work may be in its batches.
  bool is_alone = false;
  // Nor may the runner have any texts meanwhile.
  bool is_quiet = false;
  // Its sequence is isolated. It is then alone, too.
  bool is_isolated() const { return !work.empty() && work.front().is_isolated; }

  // The caller sleeps on these. They have a mutex of their own, so that callers that wake up together do not queue for
  // the scheduler's.
  std::mutex wake_mutex;
  std::condition_variable_any woken;
  enum class End { kNone, kRows, kLost, kSuspended };
  End end = End::kNone;
  // May be called from any thread, with or without the scheduler's lock.
  void Wake(End how);
};

// A piece of work that the runner has.
struct InFlight {
  std::shared_ptr<Job> job;
  size_t index = 0;
  // For each request of the piece: the index of the work's request, the number of its rows, and how many have come.
  struct Rows {
    size_t request_index = 0;
    int32_t expected = 0;
    int32_t received = 0;
  };
  std::vector<Rows> rows;
  // Summed over all requests.
  int64_t rows_missing = 0;
  bool last_piece = false;
  bool failed = false;
  // The runner did not evaluate the piece, and its sequence is unchanged. It is also failed.
  bool skipped = false;
  // The end of its work has come, and has been counted.
  bool is_counted = false;
};
// A batch that the runner has not fully answered.
struct SentBatch {
  int64_t id = 0;
  // It holds the work of one session that must be alone.
  bool is_alone = false;
  BatchBudget::Content content = {};
  // How long the runner may work on the batch.
  std::chrono::milliseconds time_limit{0};
  // Keyed by sequence.
  std::unordered_map<int64_t, InFlight> entries = {};
};

// Output that has come for a work.
struct Arrival {
  std::shared_ptr<Job> job;
  size_t index = 0;
  // Index of the work's request.
  size_t request = 0;
  PieceOutput* output = nullptr;
  // Nothing more will come for the work.
  bool is_end = false;
};

// Adds to `piece` the parts of the work's row requests that concern the piece's tokens, and to `entry` the counts to
// expect.
// `offset`: the index in the work of the piece's first token.
void AddRows(const SequenceWork& work, size_t offset, SequenceWork& piece, InFlight& entry);
// Appends `rows` to `result`. Rows that come in one part, as nearly all do, are moved and not copied.
void TakeRows(RequestRows rows, RequestRows& result);
// Checks `outputs` against the work that was sent, and counts them. `final`: they are the last of the batch.
// Errors: RUNNER_PROTOCOL.
absl::StatusOr<std::vector<Arrival>> CountOutputs(SentBatch& batch, std::vector<PieceOutput>& outputs, bool final);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_SENT_BATCH_H_
