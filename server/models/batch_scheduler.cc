#include "server/models/batch_scheduler.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>
#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"

namespace logitd::server {
namespace {

// Tokens that each waiting piece of work gets before any gets more.
constexpr size_t kFairTokens = 64;

// How long a free runner waits for the sequences of its last batch to come back. Sampling takes them well below a
// millisecond each; a batch takes ten or more.
constexpr std::chrono::milliseconds kGatherTime{2};

// The longest that a batch may take, whatever its requests' deadlines: a large model on a small machine needs minutes
// for a batch of prompts, but nothing needs hours.
constexpr std::chrono::milliseconds kBatchTimeLimit{std::chrono::minutes{10}};
constexpr std::chrono::milliseconds kShortestTimeLimit{1000};
// How much longer than its time a batch may take at least before the runner is taken to hang: what is computed may not
// be divisible, and a client's short deadline is no reason to kill a runner.
constexpr std::chrono::milliseconds kPatience{std::chrono::minutes{1}};

// Adds `rows` to `result`. Those that come at once, as nearly always, are not copied.
void TakeRows(RequestRows rows, RequestRows& result) {
  if (result.logits == nullptr) {
    result.logits = std::move(rows.logits);
  } else if (rows.logits != nullptr) {
    result.logits->insert(result.logits->end(), rows.logits->begin(), rows.logits->end());
  }
  std::move(rows.records.begin(), rows.records.end(), std::back_inserter(result.records));
  if (rows.choice) result.choice = std::move(rows.choice);
}

// Of the decoders that the work tells the runner of.
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

BatchScheduler::BatchScheduler(const ModelDescription& model, const RunnerCapacity& capacity,
                               std::shared_ptr<RunnerLink> link)
    : model_name_(model.name),
      capacity_(capacity),
      link_(std::move(link)),
      // A session runs ahead by one step.
      max_batches_in_flight_(std::clamp(capacity.max_batches_in_flight, 1, 2)),
      free_sequences_(capacity.max_sequences),
      free_tokens_(capacity.max_cached_tokens),
      dispatcher_([this] { Dispatch(); }) {}

BatchScheduler::~BatchScheduler() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  dispatcher_woken_.notify_one();
  dispatcher_.join();
}

void BatchScheduler::Job::Wake(End how) {
  {
    std::lock_guard lock(wake_mutex);
    end = how;
  }
  woken.notify_one();
}

std::shared_ptr<BatchScheduler::Job> BatchScheduler::Begin(RunnerSession* session, std::vector<SequenceWork> work,
                                                           std::shared_ptr<Job> after, const RequestContext& context) {
  auto job = std::make_shared<Job>();
  job->session = session;
  job->deadline = context.deadline;
  job->work = std::move(work);
  job->results.resize(job->work.size());
  for (size_t i = 0; i < job->work.size(); ++i) job->results[i].requests.resize(job->work[i].rows.size());
  job->unfinished = job->work.size();
  job->unsent = job->work.size();
  job->after = std::move(after);
  job->is_alone = session->is_alone_;
  job->is_quiet = session->is_quiet_;
  std::lock_guard lock(mutex_);
  expected_.erase(session);
  if (!lost_.ok()) {
    job->end = Job::End::kLost;
    return job;
  }
  for (size_t index = 0; index < job->work.size(); ++index) waiting_.push_back({job, index});
  WakeDispatcher();
  return job;
}

absl::StatusOr<std::vector<SequenceRows>> BatchScheduler::Wait(RunnerSession* session, const std::shared_ptr<Job>& job,
                                                               const RequestContext& context) {
  {
    std::unique_lock lock(job->wake_mutex);
    context.WaitFor(job->woken, lock, [&] { return job->end != Job::End::kNone; });
    if (job->end == Job::End::kRows) return std::move(job->results);
  }
  {
    std::lock_guard lock(mutex_);
    // Also where the caller gave up at that moment.
    if (job->unfinished == 0) return std::move(job->results);
  }
  Abandon(job);
  {
    std::lock_guard lock(mutex_);
    if (!lost_.ok()) return TellLost(session);
  }
  RETURN_IF_ERROR(context.Check());
  return errors::Cancelled();
}

void BatchScheduler::Abandon(const std::shared_ptr<Job>& job) {
  // By batch.
  std::vector<std::pair<int64_t, std::vector<int64_t>>> cancelled;
  {
    std::lock_guard lock(mutex_);
    job->abandoned = true;
    RemoveWaiting([&](const Pending& pending) { return pending.job == job; });
    WakeTexts();
    for (const SentBatch& batch : sent_) {
      std::vector<int64_t> sequence_ids;
      for (const auto& [sequence_id, entry] : batch.entries) {
        if (entry.job == job && !entry.is_counted) sequence_ids.push_back(sequence_id);
      }
      if (!sequence_ids.empty()) cancelled.emplace_back(batch.id, std::move(sequence_ids));
    }
  }
  std::lock_guard send_lock(send_mutex_);
  for (auto& [batch_id, sequence_ids] : cancelled) link_->SendCancel(batch_id, std::move(sequence_ids));
}

template <typename Predicate>
void BatchScheduler::RemoveWaiting(Predicate predicate) {
  waiting_.remove_if([&](const Pending& pending) {
    if (!predicate(pending)) return false;
    --pending.job->unsent;
    return true;
  });
}

absl::Status BatchScheduler::TellLost(RunnerSession* session) const {
  const auto found = suspects_.find(session);
  const Suspicion suspicion = found == suspects_.end() ? Suspicion::kBystander : found->second;
  session->suspicion_ = own_signal_.empty() ? Suspicion::kNone : suspicion;
  session->signal_ = own_signal_;
  return lost_;
}

absl::Status BatchScheduler::AcquireRoom(RunnerSession* session, int32_t sequences, int64_t tokens,
                                         const std::string& field, const RequestContext& context) {
  if (sequences > capacity_.max_sequences) {
    return errors::LimitExceeded(field, sequences, "[1, " + std::to_string(capacity_.max_sequences) + "] sequences",
                                 "capacity.max_sequences");
  }
  if (tokens > capacity_.max_cached_tokens) {
    return errors::LimitExceeded(field, tokens, "[1, " + std::to_string(capacity_.max_cached_tokens) + "] tokens",
                                 "capacity.max_cached_tokens");
  }
  RoomRequest request;
  request.sequences = sequences;
  request.tokens = tokens;
  std::unique_lock lock(mutex_);
  room_queue_.push_back(&request);
  queued_tokens_ += tokens;
  GrantRoom();
  context.WaitFor(request.changed, lock, [&] { return request.has_room || !lost_.ok(); });
  if (!request.has_room) {
    room_queue_.remove(&request);
    queued_tokens_ -= tokens;
    // It may have been in the way of smaller ones.
    GrantRoom();
  }
  if (!lost_.ok()) return TellLost(session);
  if (request.has_room) return absl::OkStatus();
  lock.unlock();
  RETURN_IF_ERROR(context.Check());
  return errors::Cancelled();
}

void BatchScheduler::GrantRoom() {
  // First come, first served: else many small requests could keep a large one out for ever.
  while (!room_queue_.empty()) {
    RoomRequest& first = *room_queue_.front();
    if (first.sequences > free_sequences_ || first.tokens > free_tokens_) return;
    room_queue_.pop_front();
    queued_tokens_ -= first.tokens;
    free_sequences_ -= first.sequences;
    free_tokens_ -= first.tokens;
    first.has_room = true;
    // Under the lock: the one that wakes up ends the condition variable's life.
    first.changed.notify_one();
  }
}

void BatchScheduler::LeaveSession(RunnerSession* session, int32_t sequences, int64_t tokens,
                                  std::vector<int64_t> sequence_ids) {
  std::lock_guard lock(mutex_);
  expected_.erase(session);
  // Another session may have its address soon.
  for (SentBatch& batch : sent_) {
    for (auto& [sequence_id, entry] : batch.entries) {
      if (entry.job->session == session) entry.job->session = nullptr;
    }
  }
  suspects_.erase(session);
  free_sequences_ += sequences;
  free_tokens_ += tokens;
  releases_.insert(releases_.end(), sequence_ids.begin(), sequence_ids.end());
  GrantRoom();
  WakeDispatcher();
}

void BatchScheduler::ReleaseSequences(std::vector<int64_t> sequence_ids) {
  std::lock_guard lock(mutex_);
  releases_.insert(releases_.end(), sequence_ids.begin(), sequence_ids.end());
}

void BatchScheduler::StopExpecting(RunnerSession* session) {
  std::lock_guard lock(mutex_);
  expected_.erase(session);
  WakeDispatcher();
}

bool BatchScheduler::CanSend() const {
  if (!sends_batches_ || !lost_.ok()) return false;
  if (sent_.empty()) return HasReadyWork();
  // The next batch while the runner still has one: only to go on from what it chooses there, and not beside anybody who
  // is alone. What else waits then goes with it.
  if (sent_.size() >= static_cast<size_t>(max_batches_in_flight_) || sent_.back().is_alone) return false;
  const bool is_somebody_alone =
      std::any_of(waiting_.begin(), waiting_.end(), [](const Pending& pending) { return pending.job->is_alone; });
  if (is_somebody_alone && !was_alone_) return false;
  return std::any_of(waiting_.begin(), waiting_.end(), [this](const Pending& pending) {
    return pending.job->work[pending.index].append_chosen && IsReady(pending);
  });
}

bool BatchScheduler::IsReady(const Pending& pending) const {
  if (pending.job->is_quiet && open_texts_ > 0) return false;
  if (pending.job->after != nullptr && pending.job->after->unsent > 0) return false;
  // Should a piece fail, the next one must not be there.
  return pending.last_batch_id == 0 || sent_.empty() || pending.last_batch_id < sent_.front().id;
}

void BatchScheduler::WakeDispatcher() {
  const bool has_turn = is_gathering_ ? expected_.empty() || sent_.empty()
                                      : !waiting_.empty() && sent_.size() < static_cast<size_t>(max_batches_in_flight_);
  if (has_turn) dispatcher_woken_.notify_one();
}

std::chrono::steady_clock::time_point BatchScheduler::GatherUntil(
    std::chrono::steady_clock::time_point gathering_since) const {
  if (sent_.empty()) return std::max(gathering_since, runner_free_since_) + kGatherTime;
  // The runner is busy for a while: whoever is late for this batch is only in the one after the next.
  return std::max(gathering_since + kGatherTime, batch_begun_ + last_batch_time_ * 6 / 10);
}

void BatchScheduler::Dispatch() {
  std::unique_lock lock(mutex_);
  while (true) {
    dispatcher_woken_.wait(lock, [this] { return stopping_ || CanSend(); });
    is_gathering_ = true;
    const auto since = std::chrono::steady_clock::now();
    for (auto until = GatherUntil(since); !stopping_ && !expected_.empty() && std::chrono::steady_clock::now() < until;
         until = GatherUntil(since)) {
      dispatcher_woken_.wait_until(lock, until);
    }
    is_gathering_ = false;
    // Whoever has not come back by now is not waited for again.
    expected_.clear();
    if (stopping_) return;
    if (!sends_batches_ || !lost_.ok()) continue;
    FailDropped();
    if (!CanSend()) continue;
    Batch batch = TakeBatch();
    if (sent_.size() == 1) BeginBatch();
    // Nobody else waits while it is written.
    std::unique_lock send_lock(send_mutex_);
    lock.unlock();
    link_->SendBatch(std::move(batch));
    send_lock.unlock();
    lock.lock();
  }
}

void BatchScheduler::BeginBatch() {
  batch_begun_ = std::chrono::steady_clock::now();
  const std::chrono::milliseconds time_limit = sent_.front().time_limit;
  overdue_at_ = batch_begun_ + time_limit + std::max<std::chrono::milliseconds>(time_limit, kPatience);
}

void BatchScheduler::FailDropped() {
  std::vector<std::shared_ptr<Job>> finished;
  RemoveWaiting([&](const Pending& pending) {
    const SequenceWork& work = pending.job->work[pending.index];
    const auto& dropped = pending.job->session->dropped_;
    if (dropped.empty()) return false;
    auto found = dropped.find(work.sequence_id);
    if (found == dropped.end() && work.fork_from_sequence_id) found = dropped.find(*work.fork_from_sequence_id);
    if (found == dropped.end()) return false;
    pending.job->results[pending.index].status = found->second;
    CountWork(pending.job, finished);
    return true;
  });
  for (const std::shared_ptr<Job>& job : finished) job->Wake(Job::End::kRows);
}

const BatchScheduler::Job* BatchScheduler::NextAlone() const {
  const auto is_alone = [](const Pending& pending) { return pending.job->is_alone; };
  const auto first = std::find_if(waiting_.begin(), waiting_.end(), [this](const Pending& pending) {
    return pending.job->is_alone && (!pending.job->is_quiet || open_texts_ == 0);
  });
  if (first == waiting_.end()) return nullptr;
  // In turns, as long as there are both.
  if (was_alone_ && !std::all_of(waiting_.begin(), waiting_.end(), is_alone)) return nullptr;
  return first->job.get();
}

bool BatchScheduler::HasReadyWork() const {
  return std::any_of(waiting_.begin(), waiting_.end(), [this](const Pending& pending) { return IsReady(pending); });
}

bool BatchScheduler::HasQuietWork() const {
  return std::any_of(waiting_.begin(), waiting_.end(), [](const Pending& pending) { return pending.job->is_quiet; }) ||
         std::any_of(sent_.begin(), sent_.end(), [](const SentBatch& batch) {
           return std::any_of(batch.entries.begin(), batch.entries.end(),
                              [](const auto& entry) { return entry.second.job->is_quiet; });
         });
}

absl::Status BatchScheduler::BeginText(const RequestContext& context) {
  std::unique_lock lock(mutex_);
  context.WaitFor(quiet_is_over_, lock, [this] { return !lost_.ok() || !HasQuietWork(); });
  if (!lost_.ok()) return lost_;
  if (HasQuietWork()) {
    lock.unlock();
    RETURN_IF_ERROR(context.Check());
    return errors::Cancelled();
  }
  ++open_texts_;
  return absl::OkStatus();
}

void BatchScheduler::WakeTexts() {
  if (!lost_.ok() || !HasQuietWork()) quiet_is_over_.notify_all();
}

void BatchScheduler::EndText() {
  std::lock_guard lock(mutex_);
  if (--open_texts_ == 0) WakeDispatcher();
}

int BatchScheduler::open_texts() const {
  std::lock_guard lock(mutex_);
  return open_texts_;
}

Batch BatchScheduler::TakeBatch() {
  const Job* alone = NextAlone();
  was_alone_ = alone != nullptr;
  Batch batch;
  batch.batch_id = ++last_batch_id_;
  batch.release_sequence_ids = std::exchange(releases_, {});
  size_t budget = static_cast<size_t>(std::max(1, capacity_.max_batch_tokens));
  struct Taken {
    std::list<Pending>::iterator pending;
    // Of the work's tokens.
    size_t begin = 0;
    WorkPiece piece;
  };
  std::vector<Taken> pieces;
  int64_t start_bytes = 0;
  for (auto it = waiting_.begin(); it != waiting_.end() && budget > 0; ++it) {
    if (alone != nullptr ? it->job.get() != alone : it->job->is_alone) continue;
    if (!IsReady(*it)) continue;
    const SequenceWork& work = it->job->work[it->index];
    start_bytes += StartBytesOf(work);
    // It is in the next batch.
    if (start_bytes > kMaxStartBytes && !pieces.empty()) break;
    WorkPiece piece;
    piece.sequence_id = work.sequence_id;
    if (it->offset == 0) piece.fork_from_sequence_id = work.fork_from_sequence_id;
    const size_t before = it->offset;
    ExtendPiece(*it, piece, std::min(budget, kFairTokens));
    budget -= it->offset - before;
    pieces.push_back({it, before, std::move(piece)});
  }
  for (auto& [it, begin, piece] : pieces) {
    const size_t before = it->offset;
    ExtendPiece(*it, piece, budget);
    budget -= it->offset - before;
  }
  SentBatch sent{batch.batch_id, was_alone_};
  auto latest = std::chrono::system_clock::time_point::min();
  for (auto& [it, begin, piece] : pieces) {
    const SequenceWork& work = it->job->work[it->index];
    InFlight entry;
    entry.job = it->job;
    entry.index = it->index;
    entry.last_piece = it->offset == work.token_count();
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
  // A deadline that has just passed is found by its own request; the batch is worth a try for the others.
  batch.time_limit = latest - now > kBatchTimeLimit
                         ? kBatchTimeLimit
                         : std::max(std::chrono::ceil<std::chrono::milliseconds>(latest - now), kShortestTimeLimit);
  sent.time_limit = batch.time_limit;
  sent_.push_back(std::move(sent));
  return batch;
}

double BatchScheduler::load() const {
  std::lock_guard lock(mutex_);
  const int64_t promised = capacity_.max_cached_tokens - free_tokens_ + queued_tokens_;
  return static_cast<double>(promised) / static_cast<double>(capacity_.max_cached_tokens);
}

size_t BatchScheduler::waiting_count() const {
  std::lock_guard lock(mutex_);
  return waiting_.size();
}

bool BatchScheduler::IsOverdue(std::chrono::steady_clock::time_point now) const {
  std::lock_guard lock(mutex_);
  return !sent_.empty() && now > overdue_at_;
}

void BatchScheduler::ExtendPiece(Pending& pending, WorkPiece& piece, size_t max_tokens) const {
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

void BatchScheduler::AddRows(const SequenceWork& work, size_t offset, WorkPiece& piece, InFlight& entry) {
  const auto first_token = static_cast<int32_t>(offset);
  const auto end_token = static_cast<int32_t>(offset + piece.append_token_ids.size() + (piece.append_chosen ? 1 : 0));
  for (size_t i = 0; i < work.rows.size(); ++i) {
    const RowRequest& whole = work.rows[i];
    const int32_t begin = std::max(whole.first_row, first_token);
    const int32_t end = std::min(whole.first_row + whole.row_count, end_token);
    if (begin >= end) continue;
    RowRequest& part = piece.rows.emplace_back(RowRequest{begin - first_token, end - begin, LogitsWanted()});
    if (const auto* records = std::get_if<RecordsWanted>(&whole.form)) {
      RecordsWanted wanted{{}, records->top_n, records->named_token_ids, records->ranks, records->entropy};
      if (!records->targets.empty()) {
        const auto first = records->targets.begin() + (begin - whole.first_row);
        wanted.targets.assign(first, first + (end - begin));
      }
      part.form = std::move(wanted);
    } else {
      part.form = whole.form;
    }
    entry.rows.push_back({i, end - begin});
    entry.rows_missing += end - begin;
  }
}

int64_t BatchScheduler::RowCountOf(const InFlight& entry) {
  int64_t count = 0;
  for (const InFlight::Rows& rows : entry.rows) count += rows.expected;
  return count;
}

absl::StatusOr<std::vector<BatchScheduler::Arrival>> BatchScheduler::CountOutputs(std::vector<PieceOutput>& outputs,
                                                                                  bool final) {
  std::unordered_map<int64_t, InFlight>& entries = sent_.front().entries;
  std::vector<Arrival> arrivals;
  arrivals.reserve(outputs.size());
  for (PieceOutput& output : outputs) {
    const auto found = entries.find(output.sequence_id);
    if (found == entries.end()) return errors::RunnerProtocol("output for a sequence that is not in the batch");
    InFlight& entry = found->second;
    if (entry.failed) return errors::RunnerProtocol("output for a sequence that has failed or was skipped");
    const Job& job = *entry.job;
    size_t request = 0;
    if (!output.status.ok()) {
      entry.failed = true;
      if (entry.is_counted && job.session != nullptr) {
        job.session->dropped_.emplace(output.sequence_id, output.status);
      }
    } else if (output.skipped) {
      if (entry.rows_missing != RowCountOf(entry))
        return errors::RunnerProtocol("an entry was skipped after rows of it");
      entry.failed = true;
      // Why, if it is known.
      if (job.session != nullptr) {
        const auto dropped = job.session->dropped_.find(output.sequence_id);
        if (dropped != job.session->dropped_.end()) output.status = dropped->second;
      }
    } else {
      if (output.request_index < 0 || output.request_index >= std::ssize(entry.rows)) {
        return errors::RunnerProtocol("output for a request that the entry does not have");
      }
      InFlight::Rows& rows = entry.rows[static_cast<size_t>(output.request_index)];
      if (output.first_row != rows.received || int64_t{rows.received} + output.row_count > rows.expected) {
        return errors::RunnerProtocol("rows that were not asked for, or not in order");
      }
      rows.received += output.row_count;
      entry.rows_missing -= output.row_count;
      request = rows.request_index;
    }
    // What wants no rows is at its end when the batch is.
    const bool has_all = entry.last_piece && !entry.rows.empty() && entry.rows_missing == 0;
    const bool is_end = entry.failed || has_all;
    if (!job.abandoned && !entry.is_counted) arrivals.push_back({entry.job, entry.index, request, &output, is_end});
    entry.is_counted = entry.is_counted || is_end;
  }
  for (const auto& [sequence_id, entry] : entries) {
    if (final && !entry.failed && entry.rows_missing != 0) {
      return errors::RunnerProtocol("a batch was ended before all of its rows had come");
    }
  }
  return arrivals;
}

void BatchScheduler::CountWork(const std::shared_ptr<Job>& job, std::vector<std::shared_ptr<Job>>& finished) {
  if (job->abandoned || --job->unfinished > 0) return;
  expected_.insert(job->session);
  finished.push_back(job);
}

absl::Status BatchScheduler::OnOutput(int64_t batch_id, std::vector<PieceOutput> outputs, bool final) {
  std::vector<Arrival> arrivals;
  {
    std::lock_guard lock(mutex_);
    if (sent_.empty() || batch_id != sent_.front().id) {
      return errors::RunnerProtocol("output for a batch that is not in flight, or not the first of them");
    }
    ASSIGN_OR_RETURN(arrivals, CountOutputs(outputs, final));
  }
  // Without the lock: nobody looks at what is unfinished.
  for (const Arrival& arrival : arrivals) {
    SequenceRows& result = arrival.job->results[arrival.index];
    result.status = std::move(arrival.output->status);
    result.skipped = arrival.output->skipped;
    if (result.status.ok() && !result.skipped)
      TakeRows(std::move(arrival.output->rows), result.requests[arrival.request]);
  }
  std::vector<std::shared_ptr<Job>> finished;
  {
    std::lock_guard lock(mutex_);
    // Lost meanwhile.
    if (sent_.empty() || batch_id != sent_.front().id) return absl::OkStatus();
    for (const Arrival& arrival : arrivals) {
      if (!arrival.job->results[arrival.index].status.ok()) {
        // What is left of the work cannot be done: its sequence is gone.
        RemoveWaiting([&arrival](const Pending& pending) {
          return pending.job == arrival.job && pending.index == arrival.index;
        });
      }
      if (arrival.is_end) CountWork(arrival.job, finished);
    }
    if (final) {
      const SentBatch answered = std::move(sent_.front());
      sent_.pop_front();
      runner_free_since_ = std::chrono::steady_clock::now();
      last_batch_time_ = runner_free_since_ - batch_begun_;
      if (!sent_.empty()) BeginBatch();
      for (const auto& [sequence_id, entry] : answered.entries) {
        if (entry.last_piece && !entry.is_counted) CountWork(entry.job, finished);
      }
      WakeDispatcher();
      WakeTexts();
    }
  }
  for (const std::shared_ptr<Job>& job : finished) job->Wake(Job::End::kRows);
  return absl::OkStatus();
}

void BatchScheduler::StopBatches() {
  std::lock_guard lock(mutex_);
  sends_batches_ = false;
}

void BatchScheduler::OnLost(const absl::Status& status, const std::string& own_signal) {
  std::set<std::shared_ptr<Job>> over;
  {
    std::lock_guard lock(mutex_);
    if (lost_.ok()) {
      lost_ = status;
      // Without a batch it was nobody's work.
      if (!sent_.empty()) own_signal_ = own_signal;
    }
    // Of all batches: nobody knows how far it was.
    for (const SentBatch& batch : sent_) {
      for (const auto& [sequence_id, entry] : batch.entries) {
        const bool is_doubt = open_texts_ > 0 && entry.job->is_alone;
        if (entry.job->session != nullptr) {
          suspects_[entry.job->session] = is_doubt ? Suspicion::kDoubt : Suspicion::kSuspect;
        }
        over.insert(entry.job);
      }
    }
    for (const Pending& pending : waiting_) over.insert(pending.job);
    waiting_.clear();
    sent_.clear();
    // Under the lock: whoever wakes up ends its condition variable's life.
    for (RoomRequest* request : room_queue_) request->changed.notify_one();
    WakeTexts();
  }
  for (const std::shared_ptr<Job>& job : over) job->Wake(Job::End::kLost);
}

RunnerSession::~RunnerSession() {
  DropAhead();
  scheduler_->LeaveSession(this, reserved_sequences_, reserved_tokens_, std::move(sequence_ids_));
}

absl::Status RunnerSession::Reserve(int32_t sequences, int64_t tokens, const std::string& field,
                                    const RequestContext& context) {
  scheduler_->LeaveSession(this, std::exchange(reserved_sequences_, 0), std::exchange(reserved_tokens_, 0), {});
  RETURN_IF_ERROR(scheduler_->AcquireRoom(this, sequences, tokens, field, context));
  reserved_sequences_ = sequences;
  reserved_tokens_ = tokens;
  return absl::OkStatus();
}

int64_t RunnerSession::NewSequence() {
  std::lock_guard lock(scheduler_->mutex_);
  sequence_ids_.push_back(++scheduler_->last_sequence_id_);
  return sequence_ids_.back();
}

void RunnerSession::Release(int64_t sequence_id) {
  std::erase(sequence_ids_, sequence_id);
  scheduler_->ReleaseSequences({sequence_id});
}

absl::StatusOr<std::vector<SequenceRows>> RunnerSession::Evaluate(std::vector<SequenceWork> work,
                                                                  const RequestContext& context,
                                                                  std::vector<SequenceWork> ahead) {
  DropAhead();
  return WaitFor(scheduler_->Begin(this, std::move(work), nullptr, context), context, std::move(ahead));
}

absl::StatusOr<std::vector<SequenceRows>> RunnerSession::EvaluateAhead(const RequestContext& context,
                                                                       std::vector<SequenceWork> ahead) {
  if (ahead.empty()) scheduler_->StopExpecting(this);
  return WaitFor(std::exchange(ahead_, nullptr), context, std::move(ahead));
}

absl::StatusOr<std::vector<SequenceRows>> RunnerSession::WaitFor(std::shared_ptr<BatchScheduler::Job> job,
                                                                 const RequestContext& context,
                                                                 std::vector<SequenceWork> ahead) {
  if (!ahead.empty()) ahead_ = scheduler_->Begin(this, std::move(ahead), job, context);
  auto rows = scheduler_->Wait(this, job, context);
  if (!rows.ok()) DropAhead();
  return rows;
}

void RunnerSession::DropAhead() {
  if (ahead_ != nullptr) scheduler_->Abandon(std::exchange(ahead_, nullptr));
}

}  // namespace logitd::server
