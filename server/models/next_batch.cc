// The composition of a runner's next batch, and when it is sent. batch_scheduler.cc begins with an example.
#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "server/models/batch_scheduler.h"
#include "server/models/sent_batch.h"

namespace logitd::server {
namespace {

// Tokens that each waiting piece gets before any piece gets more.
constexpr size_t kFairTokens = 64;

// Tokens that each piece gets, in order of arrival, even where all of them together get few.
constexpr size_t kFewTokens = 8;

// How long a free runner waits for the sequences of its last batch to come back. Sampling takes well below a
// millisecond per sequence; a batch takes ten milliseconds or more.
constexpr std::chrono::milliseconds kGatherTime{2};

// The longest time limit of a batch, whatever its requests' deadlines: a large model on a small machine needs minutes
// for a batch of prompts, but nothing needs hours.
constexpr std::chrono::milliseconds kBatchTimeLimit{std::chrono::minutes{10}};
constexpr std::chrono::milliseconds kShortestTimeLimit{1000};
// Bytes of the decoders that the work describes to the runner.
int64_t StartBytesOf(const SequenceWork& work) {
  int64_t bytes = 0;
  for (const RowRequest& request : work.rows) {
    const auto* choice = std::get_if<ChoiceWanted>(&request.form);
    if (choice == nullptr || !choice->start || choice->start->settings == nullptr) continue;
    // A token id takes up to three bytes.
    bytes += static_cast<int64_t>(choice->start->settings->size() + 3 * choice->start->output_token_ids.size());
  }
  return bytes;
}

}  // namespace

bool BatchScheduler::CanSend() const {
  if (!sends_batches_ || !lost_.ok()) return false;
  if (sent_.empty()) return HasReadyWork();
  // While the runner has a batch, the next one is sent only to go on from the tokens chosen in it, and never beside
  // work that is alone. Other waiting work then goes along.
  if (sent_.size() >= static_cast<size_t>(max_batches_in_flight_) || sent_.back().is_alone) return false;
  const bool is_somebody_alone = std::any_of(waiting_.begin(), waiting_.end(), [this](const Pending& pending) {
    return pending.job->is_alone && !IsBehindIsolated(*pending.job);
  });
  if (is_somebody_alone && !was_alone_) return false;
  // A long piece with a part at the runner would miss every other batch.
  if (std::any_of(waiting_.begin(), waiting_.end(),
                  [this](const Pending& pending) { return pending.last_batch_id == sent_.back().id; })) {
    return false;
  }
  return std::any_of(waiting_.begin(), waiting_.end(), [this](const Pending& pending) {
    return pending.job->work[pending.index].append_chosen && IsReady(pending);
  });
}

bool BatchScheduler::IsBehindIsolated(const Job& job) const {
  return job.is_isolated() && isolated_ != nullptr && isolated_ != job.session;
}

bool BatchScheduler::IsReady(const Pending& pending) const {
  if (IsBehindIsolated(*pending.job)) return false;
  if (pending.job->is_quiet && open_texts_ > 0) return false;
  if (pending.job->after != nullptr && pending.job->after->unsent > 0) return false;
  // If a piece fails, the next piece of its work must not be at the runner.
  return pending.last_batch_id == 0 || sent_.empty() || pending.last_batch_id < sent_.front().id;
}

bool BatchScheduler::HasReadyWork() const {
  return std::any_of(waiting_.begin(), waiting_.end(), [this](const Pending& pending) { return IsReady(pending); });
}

std::chrono::steady_clock::time_point BatchScheduler::GatherUntil(
    std::chrono::steady_clock::time_point gathering_since) const {
  if (sent_.empty()) return std::max(gathering_since, runner_free_since_) + kGatherTime;
  // The runner is busy for a while, and a session that misses this batch gets into the one after the next only.
  return std::max(gathering_since + kGatherTime, batch_begun_ + last_batch_time_ * 6 / 10);
}

const Job* BatchScheduler::NextAlone() const {
  const auto is_alone = [](const Pending& pending) { return pending.job->is_alone; };
  const auto first = std::find_if(waiting_.begin(), waiting_.end(), [this](const Pending& pending) {
    return pending.job->is_alone && (!pending.job->is_quiet || open_texts_ == 0) && !IsBehindIsolated(*pending.job);
  });
  if (first == waiting_.end()) return nullptr;
  // Alternates with the other work while there is both.
  if (was_alone_ && !std::all_of(waiting_.begin(), waiting_.end(), is_alone)) return nullptr;
  return first->job.get();
}

std::vector<BatchScheduler::Taken> BatchScheduler::TakePieces(const Job* alone, BatchBudget::Content& content) {
  const bool is_isolated = alone != nullptr && alone->is_isolated();
  size_t budget = static_cast<size_t>(is_isolated ? kIsolatedTokens : std::max(1, capacity_.max_batch_tokens));
  std::vector<Taken> pieces;
  int64_t start_bytes = 0;
  const auto is_of_batch = [&](const Pending& pending) {
    return (alone != nullptr ? pending.job.get() == alone : !pending.job->is_alone) && IsReady(pending);
  };
  // Returns false when no more pieces may be taken.
  const auto take = [&](std::list<Pending>::iterator it, size_t max_tokens) {
    const SequenceWork& work = it->job->work[it->index];
    start_bytes += StartBytesOf(work);
    // The piece goes into the next batch.
    if (start_bytes > kMaxStartBytes && !pieces.empty()) return false;
    SequenceWork piece;
    piece.sequence_id = work.sequence_id;
    piece.is_isolated = work.is_isolated;
    if (it->offset == 0) {
      piece.fork_from_sequence_id = work.fork_from_sequence_id;
      piece.keep_prefix_length = work.keep_prefix_length;
    }
    const size_t before = it->offset;
    ExtendPiece(*it, piece, max_tokens);
    budget -= it->offset - before;
    pieces.push_back({it, before, std::move(piece)});
    return true;
  };
  const auto is_step = [](const Pending& pending) { return pending.job->work[pending.index].is_step; };
  std::vector<std::list<Pending>::iterator> others;
  bool goes_on = true;
  for (auto it = waiting_.begin(); it != waiting_.end() && budget > 0 && goes_on; ++it) {
    if (!is_of_batch(*it)) continue;
    if (is_step(*it)) {
      goes_on = take(it, 1);
    } else {
      others.push_back(it);
    }
  }
  content.steps = static_cast<int>(pieces.size());
  if (!pieces.empty()) stepping_.clear();
  for (const Taken& step : pieces) stepping_.insert(step.pending->job->session);
  // The batches of an isolated sequence do not depend on what else runs.
  if (!is_isolated) {
    budget =
        std::min(budget, static_cast<size_t>(budget_.TokensBeside(content.steps, static_cast<int>(stepping_.size()))));
  }
  const size_t before_others = budget;
  // Where the budget is small, every piece gets a part of it.
  const size_t share = others.empty() ? 0 : std::clamp(budget / others.size(), kFewTokens, kFairTokens);
  for (const auto& it : others) {
    if (budget == 0 || !goes_on) break;
    goes_on = take(it, std::min(budget, share));
  }
  for (auto& [it, begin, piece] : pieces) {
    if (is_step(*it)) continue;
    const size_t before = it->offset;
    ExtendPiece(*it, piece, budget);
    budget -= it->offset - before;
  }
  content.tokens = static_cast<int>(before_others - budget);
  return pieces;
}

Batch BatchScheduler::TakeBatch() {
  const Job* alone = NextAlone();
  was_alone_ = alone != nullptr;
  if (was_alone_ && alone->is_isolated()) isolated_ = alone->session;
  Batch batch;
  batch.batch_id = ++last_batch_id_;
  batch.release_sequence_ids = std::exchange(releases_, {});
  BatchBudget::Content content;
  std::vector<Taken> pieces = TakePieces(alone, content);
  const bool had_pins = cache_.pinned_sequences() > 0;
  budget_.OnBegin(content);
  SentBatch sent{batch.batch_id, was_alone_, content};
  auto latest = std::chrono::system_clock::time_point::min();
  for (auto& [it, begin, piece] : pieces) {
    const SequenceWork& work = it->job->work[it->index];
    InFlight entry;
    entry.job = it->job;
    entry.index = it->index;
    entry.last_piece = it->offset == work.token_count();
    if (begin == 0) UnpinSource(work);
    AddRows(work, begin, piece, entry);
    latest = std::max(latest, it->job->deadline);
    it->job->after.reset();
    it->last_batch_id = batch.batch_id;
    if (entry.last_piece) {
      --it->job->unsent;
      waiting_.erase(it);
    }
    sent.entries.emplace(piece.sequence_id, std::move(entry));
    batch.work.push_back(std::move(piece));
  }
  const auto now = std::chrono::system_clock::now();
  // A request notices by itself that its deadline has just passed. The batch is still worth a try for the others.
  batch.time_limit = latest - now > kBatchTimeLimit
                         ? kBatchTimeLimit
                         : std::max(std::chrono::ceil<std::chrono::milliseconds>(latest - now), kShortestTimeLimit);
  sent.time_limit = batch.time_limit;
  sent_.push_back(std::move(sent));
  // Sessions may have waited for the room of sequences that were to be copied.
  if (had_pins && cache_.pinned_sequences() == 0) SettleRoom();
  return batch;
}

void BatchScheduler::ExtendPiece(Pending& pending, SequenceWork& piece, size_t max_tokens) const {
  const SequenceWork& work = pending.job->work[pending.index];
  if (work.append_chosen) {
    piece.append_chosen = work.append_chosen;
    pending.offset = 1;
    return;
  }
  const size_t count = std::min(max_tokens, work.append_token_ids.size() - pending.offset);
  const auto begin = work.append_token_ids.begin() + static_cast<ptrdiff_t>(pending.offset);
  piece.append_token_ids.insert(piece.append_token_ids.end(), begin, begin + static_cast<ptrdiff_t>(count));
  pending.offset += count;
}

}  // namespace logitd::server
