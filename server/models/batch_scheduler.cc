// How batches are made: an example. A and B are running sequences. C and D are prompts of 300 and 40 tokens that arrive
// while the runner works on batch 7.
//
//   runner   | 7: a1 b1 |gather| 8: a2 b2 C[0,60) D[0,40) | 9: a3 b3 d1 C[60,160) |  ...  | 12: a6 b6 c1 d4 | 13: ...
//   sent                       8                          9                                12   13: a7 b7 c2 d5
//
// Batch 8, step by step (TakePieces in next_batch.cc):
//
//   1. When batch 7 is answered, A and B are expected to come back with a2 and b2. The free runner waits for them, at
//      most kGatherTime. Otherwise C and D would go first, and A and B would have to wait for the batch after that.
//   2. Steps come first: a2 and b2.
//   3. The budget (batch_budget.h) has learned that two steps alone take 10 ms and each other token 0.25 ms. A batch of
//      3.5 times 10 ms has room for (3.5 - 1) * 10 / 0.25 = 100 other tokens.
//   4. Each other piece gets a fair share of clamp(100 / 2, kFewTokens, kFairTokens) = 50 tokens: C gets 50, D all 40.
//   5. The 10 tokens that are left go to the longer pieces in order of arrival: C now has 60.
//
// Batch 8 ends D's prompt, so D's first step, d1, is in batch 9 while C is still being read. When C's prompt has ended,
// all four sequences step together. If the runner chooses tokens itself (docs/adr/0015-runners-choose.md), batch 13 is
// sent while the runner works on batch 12, and appends the tokens that batch 12 is about to choose. Batch 9 could not
// be sent ahead in that way, because batch 8 held a part of C.
//
// A session E that is suspected of killing runners has batches of its own, in turns with the others' batches: E, then
// A, B, C and D, then E again (docs/adr/0012-requests-that-kill-runners.md). docs/adr/0017-room-grows.md explains the
// budget.
#include "server/models/batch_scheduler.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/models/runner_session.h"

namespace logitd::server {
namespace {

// The least grace that a batch has beyond its time limit before the runner counts as hanging: a computation may not be
// divisible, and a client's short deadline is no reason to kill a runner.
constexpr std::chrono::milliseconds kPatience{std::chrono::minutes{1}};

// The error for a session that has lost its room. No client sees it: ModelSession begins again.
absl::Status Suspended() { return absl::AbortedError("the session is suspended"); }

}  // namespace

BatchScheduler::BatchScheduler(const ModelDescription& model, const RunnerCapacity& capacity,
                               std::shared_ptr<RunnerLink> link, CacheSharing sharing)
    : model_name_(model.name),
      capacity_(capacity),
      link_(std::move(link)),
      // A session runs ahead by one step.
      max_batches_in_flight_(std::clamp(capacity.max_batches_in_flight, 1, 2)),
      room_(capacity.max_sequences, capacity.max_cached_tokens),
      cache_(sharing.fork, sharing.trim),
      budget_(std::max(1, capacity.max_batch_tokens)),
      dispatcher_([this] { Dispatch(); }) {}

BatchScheduler::~BatchScheduler() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  dispatcher_woken_.notify_one();
  dispatcher_.join();
}

std::shared_ptr<Job> BatchScheduler::Begin(RunnerSession* session, std::vector<SequenceWork> work,
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
  job->tenant = session->tenant_;
  std::unique_lock lock(mutex_);
  expected_.erase(session);
  if (lost_.ok() && !session->share_.is_suspended) Queue(job, context, lock);
  if (!lost_.ok() || session->share_.is_suspended) {
    job->end = lost_.ok() ? Job::End::kSuspended : Job::End::kLost;
  }
  return job;
}

absl::StatusOr<std::vector<SequenceRows>> BatchScheduler::Wait(RunnerSession* session, const std::shared_ptr<Job>& job,
                                                               const RequestContext& context) {
  {
    std::unique_lock lock(job->wake_mutex);
    context.WaitFor(job->woken, lock, [&] { return job->end != Job::End::kNone; });
    if (job->end == Job::End::kRows && job->paths.empty()) return std::move(job->results);
  }
  {
    std::lock_guard lock(mutex_);
    // The rows may have come just as the caller gave up.
    const bool is_done = job->unfinished == 0;
    EndInCache(*job, is_done);
    if (is_done) return std::move(job->results);
  }
  Abandon(job);
  {
    std::lock_guard lock(mutex_);
    if (!lost_.ok()) return TellLost(session);
    if (session->share_.is_suspended) return Suspended();
  }
  return context.WhyGivenUp();
}

void BatchScheduler::Abandon(const std::shared_ptr<Job>& job) {
  // Sequences to cancel, by batch.
  std::vector<std::pair<int64_t, std::vector<int64_t>>> cancelled;
  {
    std::lock_guard lock(mutex_);
    job->abandoned = true;
    RemoveWaiting([&](const Pending& pending) { return pending.job == job; });
    if (!room_waits_.empty()) SettleRoom();
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
    if (pending.offset == 0) UnpinSource(pending.job->work[pending.index]);
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
                                         const RequestContext& context) {
  std::unique_lock lock(mutex_);
  expected_.erase(session);
  room_.GiveBack(session->share_);
  session->dropped_.clear();
  sharers_[&session->share_] = session;
  room_.Ask(session->share_, sequences, tokens);
  return WaitForRoom(session, context, lock);
}

absl::Status BatchScheduler::GrowRoom(RunnerSession* session, int64_t needed, int64_t tokens,
                                      const RequestContext& context) {
  std::unique_lock lock(mutex_);
  if (!lost_.ok()) return TellLost(session);
  if (session->share_.is_suspended) return Suspended();
  // If that is not enough, the runner says so.
  tokens = std::min(tokens, capacity_.max_cached_tokens);
  NotePinned();
  if (std::min(needed, tokens) <= session->share_.tokens || room_.TryToGrow(session->share_, tokens)) {
    ShrinkCache();
    return absl::OkStatus();
  }
  // The next batch does not wait for this session.
  expected_.erase(session);
  room_.AskForMore(session->share_, tokens);
  return WaitForRoom(session, context, lock);
}

bool BatchScheduler::TryToGrowRoom(RunnerSession* session, int64_t needed, int64_t tokens) {
  std::lock_guard lock(mutex_);
  tokens = std::min(tokens, capacity_.max_cached_tokens);
  NotePinned();
  if (std::min(needed, tokens) > session->share_.tokens && !room_.TryToGrow(session->share_, tokens)) return false;
  ShrinkCache();
  return true;
}

absl::Status BatchScheduler::WaitForRoom(RunnerSession* session, const RequestContext& context,
                                         std::unique_lock<std::mutex>& lock) {
  RoomWait wait;
  room_waits_[session] = &wait;
  SettleRoom();
  WakeDispatcher();
  const CacheShare& share = session->share_;
  context.WaitFor(wait.changed, lock, [&] { return wait.has_room || share.is_suspended || !lost_.ok(); });
  room_waits_.erase(session);
  if (!wait.has_room) {
    room_.Withdraw(session->share_);
    // Its request may have been in the way of others.
    SettleRoom();
  }
  if (!lost_.ok()) return TellLost(session);
  if (wait.has_room) return absl::OkStatus();
  if (share.is_suspended) return Suspended();
  lock.unlock();
  return context.WhyGivenUp();
}

void BatchScheduler::SettleRoom() {
  NotePinned();
  for (std::vector<CacheShare*> settled = room_.Settle(); !settled.empty(); settled = room_.Settle()) {
    for (CacheShare* share : settled) {
      RunnerSession& session = *sharers_.at(share);
      if (share->is_suspended) Suspend(session);
      const auto waits = room_waits_.find(&session);
      if (waits == room_waits_.end()) continue;
      waits->second->has_room = !share->is_suspended;
      // Under the lock, because the waiter destroys the condition variable when it wakes up.
      waits->second->changed.notify_one();
    }
    // A suspended session no longer pins what it was about to copy.
    NotePinned();
  }
  ShrinkCache();
}

void BatchScheduler::Suspend(RunnerSession& session) {
  expected_.erase(&session);
  stepping_.erase(&session);
  std::set<std::shared_ptr<Job>> over;
  for (const Pending& pending : waiting_) {
    if (pending.job->session == &session) over.insert(pending.job);
  }
  RemoveWaiting([&session](const Pending& pending) { return pending.job->session == &session; });
  // The runner still answers the work that it has, and does so before the sequences are freed.
  for (const std::shared_ptr<Job>& job : over) {
    job->abandoned = true;
    job->Wake(Job::End::kSuspended);
  }
  GiveUpSequences(session);
  unparked_.notify_all();
  WakeTexts();
}

void BatchScheduler::BeginIsolated() {
  std::lock_guard lock(mutex_);
  ++isolated_sessions_;
}

void BatchScheduler::LeaveSession(RunnerSession* session) {
  std::lock_guard lock(mutex_);
  expected_.erase(session);
  // Another session may soon have its address.
  for (SentBatch& batch : sent_) {
    for (auto& [sequence_id, entry] : batch.entries) {
      if (entry.job->session == session) entry.job->session = nullptr;
    }
  }
  suspects_.erase(session);
  stepping_.erase(session);
  EndIsolation(session);
  if (session->is_isolated_) --isolated_sessions_;
  room_.GiveBack(session->share_);
  sharers_.erase(&session->share_);
  GiveUpSequences(*session);
  SettleRoom();
  WakeDispatcher();
}

int64_t BatchScheduler::NewSequence(RunnerSession* session) {
  std::lock_guard lock(mutex_);
  session->sequence_ids_.push_back(++last_sequence_id_);
  return last_sequence_id_;
}

void BatchScheduler::EndIsolation(const RunnerSession* session) {
  if (isolated_ != session) return;
  isolated_ = nullptr;
  WakeDispatcher();
}

void BatchScheduler::ReleaseSequence(RunnerSession* session, int64_t sequence_id) {
  std::lock_guard lock(mutex_);
  if (std::erase(session->sequence_ids_, sequence_id) == 0) return;
  GiveUp(sequence_id, session->is_private_);
  EndIsolation(session);
  ShrinkCache();
}

void BatchScheduler::StopExpecting(RunnerSession* session) {
  std::lock_guard lock(mutex_);
  expected_.erase(session);
  WakeDispatcher();
}

void BatchScheduler::WakeDispatcher() {
  const bool has_turn = is_gathering_ ? expected_.empty() || sent_.empty()
                                      : !waiting_.empty() && sent_.size() < static_cast<size_t>(max_batches_in_flight_);
  if (has_turn) dispatcher_woken_.notify_one();
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
    // Sessions that have not come back by now are not waited for again.
    expected_.clear();
    if (stopping_) return;
    if (!sends_batches_ || !lost_.ok()) continue;
    FailDropped();
    if (!CanSend()) continue;
    Batch batch = TakeBatch();
    if (sent_.size() == 1) BeginBatch();
    // No other thread needs the lock while the message is written.
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
    return context.WhyGivenUp();
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

double BatchScheduler::load() const {
  std::lock_guard lock(mutex_);
  return room_.load() + 0.5 * isolated_sessions_;
}

size_t BatchScheduler::waiting_count() const {
  std::lock_guard lock(mutex_);
  return waiting_.size();
}

bool BatchScheduler::IsOverdue(std::chrono::steady_clock::time_point now) const {
  std::lock_guard lock(mutex_);
  return !sent_.empty() && now > overdue_at_;
}

void BatchScheduler::CountWork(const std::shared_ptr<Job>& job, std::vector<std::shared_ptr<Job>>& finished) {
  if (job->abandoned || --job->unfinished > 0) return;
  // A suspended session has to wait for room first.
  if (!job->session->share_.is_suspended) expected_.insert(job->session);
  finished.push_back(job);
}

absl::Status BatchScheduler::OnOutput(int64_t batch_id, std::vector<PieceOutput> outputs, bool final) {
  std::vector<Arrival> arrivals;
  {
    std::lock_guard lock(mutex_);
    if (sent_.empty() || batch_id != sent_.front().id) {
      return errors::RunnerProtocol("output for a batch that is not in flight, or not the first of them");
    }
    ASSIGN_OR_RETURN(arrivals, CountOutputs(sent_.front(), outputs, final));
  }
  // Without the lock: no other thread reads unfinished results.
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
    // The runner has been lost meanwhile.
    if (sent_.empty() || batch_id != sent_.front().id) return absl::OkStatus();
    for (const Arrival& arrival : arrivals) {
      if (!arrival.job->results[arrival.index].status.ok()) {
        // The rest of the work cannot be done, because its sequence is gone.
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
      budget_.OnEnd(answered.content, last_batch_time_);
      if (!sent_.empty()) BeginBatch();
      KeepAnswered(answered);
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
      // A runner without a batch did not end because of a session's work.
      if (!sent_.empty()) own_signal_ = own_signal;
    }
    // All batches, because it is not known how far the runner was.
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
    // Under the lock, because each waiter destroys its condition variable when it wakes up.
    for (const auto& [session, wait] : room_waits_) wait->changed.notify_one();
    unparked_.notify_all();
    WakeTexts();
  }
  for (const std::shared_ptr<Job>& job : over) job->Wake(Job::End::kLost);
}

}  // namespace logitd::server
