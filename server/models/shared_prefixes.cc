// The part of BatchScheduler that lets work with the same first tokens share them. The bookkeeping is in
// prefix_cache.h.
//
// Example: A and B both want a row after [c d e f]. The cache holds [c d] and nothing is on its way.
//
//   A begins     it copies [c d], so it has e and f evaluated
//   B begins     it would copy [c d] too, but A evaluates e and f already: B waits
//   A ends       its sequence [c d e f] is published
//   B goes on    it copies [c d e] and has f evaluated again, because it needs its row
//   A leaves     [c d e f] is kept in the cache until somebody needs its room
//
// A sequence that is about to be copied is pinned from the moment when it is found until the copy is on its way to the
// runner, which does everything in order.
#include <algorithm>
#include <utility>

#include "server/models/batch_scheduler.h"
#include "server/models/runner_session.h"

namespace logitd::server {
namespace {

// Tokens that must be saved for a work to wait for another one.
constexpr int64_t kWorthWaiting = 16;

// The tokens of `work` that may come from the cache: those before the first row that is wanted.
int64_t MostCached(const SequenceWork& work) {
  int64_t most = std::ssize(work.append_token_ids);
  for (const RowRequest& request : work.rows) most = std::min<int64_t>(most, request.first_row);
  return most;
}

// Whether both begin with the same `count` tokens.
bool BeginAlike(std::span<const TokenId> a, std::span<const TokenId> b, int64_t count) {
  return std::ssize(a) >= count && std::ssize(b) >= count && std::equal(a.begin(), a.begin() + count, b.begin());
}

}  // namespace

bool BatchScheduler::MustWaitForOthers(const Job& job) const {
  // A job that is alone must not depend on others.
  if (job.is_alone) return false;
  return std::any_of(job.work.begin(), job.work.end(), [&](const SequenceWork& work) {
    if (!work.from_cache) return false;
    const int64_t most = MostCached(work);
    const int64_t needed = cache_.Find(job.tenant, work.append_token_ids, most).length + kWorthWaiting;
    if (most < needed) return false;
    return std::any_of(placed_jobs_.begin(), placed_jobs_.end(), [&](const Job* other) {
      if (other->tenant != job.tenant) return false;
      for (size_t i = 0; i < other->paths.size(); ++i) {
        if (!other->work[i].is_final) continue;
        if (BeginAlike(other->paths[i], work.append_token_ids, needed)) return true;
      }
      return false;
    });
  });
}

void BatchScheduler::Queue(const std::shared_ptr<Job>& job, const RequestContext& context,
                           std::unique_lock<std::mutex>& lock) {
  if (!MustWaitForOthers(*job)) {
    PlaceInCache(*job);
    for (size_t index = 0; index < job->work.size(); ++index) waiting_.push_back({job, index});
    WakeDispatcher();
    return;
  }
  parked_.push_back(job);
  const auto is_over = [&] {
    return !lost_.ok() || job->session->share_.is_suspended ||
           std::find(parked_.begin(), parked_.end(), job) == parked_.end();
  };
  context.WaitFor(unparked_, lock, is_over);
  // The caller has given up, or its session has lost its room.
  std::erase(parked_, job);
}

void BatchScheduler::Unpark() {
  for (size_t i = 0; i < parked_.size();) {
    const std::shared_ptr<Job> job = parked_[i];
    if (job->session->share_.is_suspended || MustWaitForOthers(*job)) {
      ++i;
      continue;
    }
    parked_.erase(parked_.begin() + static_cast<ptrdiff_t>(i));
    PlaceInCache(*job);
    for (size_t index = 0; index < job->work.size(); ++index) waiting_.push_back({job, index});
  }
  unparked_.notify_all();
  WakeDispatcher();
}

void BatchScheduler::PlaceInCache(Job& job) {
  // Its sequence is not in the cache that others use.
  if (job.is_isolated()) return;
  for (size_t i = 0; i < job.work.size(); ++i) {
    SequenceWork& work = job.work[i];
    if (work.from_cache) {
      if (job.paths.empty()) job.paths.resize(job.work.size());
      const PrefixCache::Match match = cache_.Find(job.tenant, work.append_token_ids, MostCached(work));
      job.paths[i] = work.append_token_ids;
      if (match.length > 0) {
        work.fork_from_sequence_id = match.sequence_id;
        if (match.length < cache_.LengthOf(match.sequence_id)) work.keep_prefix_length = match.length;
        work.append_token_ids.erase(work.append_token_ids.begin(), work.append_token_ids.begin() + match.length);
        for (RowRequest& request : work.rows) request.first_row -= static_cast<int32_t>(match.length);
        job.results[i].cached_count = match.length;
        cache_.Pin(match.sequence_id);
      }
    }
    if (work.fork_from_sequence_id) {
      cache_.Copy(work.sequence_id, *work.fork_from_sequence_id, work.keep_prefix_length);
    }
  }
  // Tokens that a source gets in the same batch come after the copy.
  for (const SequenceWork& work : job.work) {
    cache_.Append(work.sequence_id, static_cast<int64_t>(work.token_count()));
  }
  if (!job.paths.empty()) placed_jobs_.push_back(&job);
}

void BatchScheduler::EndInCache(const Job& job, bool is_done) {
  if (std::erase(placed_jobs_, &job) == 0) return;
  for (size_t i = 0; i < job.work.size() && is_done; ++i) {
    if (!job.work[i].is_final || job.paths[i].empty() || !job.results[i].status.ok()) continue;
    cache_.Publish(job.work[i].sequence_id, job.tenant, job.paths[i]);
  }
  Unpark();
}

void BatchScheduler::UnpinSource(const SequenceWork& work) {
  if (work.from_cache && work.fork_from_sequence_id) cache_.Unpin(*work.fork_from_sequence_id);
}

void BatchScheduler::GiveUp(int64_t sequence_id, bool is_private) {
  if (!is_private && cache_.Keep(sequence_id)) return;
  cache_.Forget(sequence_id);
  releases_.push_back(sequence_id);
}

void BatchScheduler::GiveUpSequences(RunnerSession& session) {
  for (const int64_t sequence_id : session.sequence_ids_) GiveUp(sequence_id, session.is_private_);
  session.sequence_ids_.clear();
}

void BatchScheduler::KeepSequence(RunnerSession* session, int64_t sequence_id, std::vector<TokenId> tokens) {
  std::lock_guard lock(mutex_);
  if (std::erase(session->sequence_ids_, sequence_id) == 0) return;
  const bool is_dropped = session->dropped_.contains(sequence_id);
  const bool is_sent = std::any_of(sent_.begin(), sent_.end(), [sequence_id](const SentBatch& batch) {
    return batch.entries.contains(sequence_id);
  });
  if (is_sent && !is_dropped && !session->is_private_) {
    keep_later_[sequence_id] = {session->tenant_, std::move(tokens)};
    keep_later_tokens_ += cache_.LengthOf(sequence_id);
    return;
  }
  if (!is_dropped) cache_.Publish(sequence_id, session->tenant_, tokens);
  GiveUp(sequence_id, session->is_private_);
  ShrinkCache();
}

void BatchScheduler::KeepAnswered(const SentBatch& batch) {
  if (keep_later_.empty()) return;
  for (const auto& [sequence_id, entry] : batch.entries) {
    const auto found = keep_later_.find(sequence_id);
    if (found == keep_later_.end()) continue;
    const bool is_sent_again = std::any_of(
        sent_.begin(), sent_.end(), [id = sequence_id](const SentBatch& other) { return other.entries.contains(id); });
    const bool is_dropped = entry.failed && !entry.skipped;
    if (is_sent_again && !is_dropped) continue;
    keep_later_tokens_ -= cache_.LengthOf(sequence_id);
    if (!is_dropped) cache_.Publish(sequence_id, found->second.tenant, found->second.tokens);
    keep_later_.erase(found);
    GiveUp(sequence_id, /*is_private=*/false);
  }
  SettleRoom();
}

void BatchScheduler::NotePinned() {
  room_.SetPinned(cache_.pinned_sequences() + static_cast<int32_t>(keep_later_.size()),
                  cache_.pinned_tokens() + keep_later_tokens_);
}

KeptInCache BatchScheduler::kept() const {
  std::lock_guard lock(mutex_);
  return {cache_.kept_sequences(), cache_.kept_cells()};
}

bool BatchScheduler::Knows(const std::string& tenant, std::span<const TokenId> tokens) const {
  const int64_t much = std::max(kWorthWaiting, std::ssize(tokens) / 2);
  std::lock_guard lock(mutex_);
  if (cache_.Find(tenant, tokens, std::ssize(tokens)).length >= much) return true;
  return std::any_of(placed_jobs_.begin(), placed_jobs_.end(), [&](const Job* job) {
    return job->tenant == tenant && std::any_of(job->paths.begin(), job->paths.end(),
                                                [&](const auto& path) { return BeginAlike(path, tokens, much); });
  });
}

void BatchScheduler::ShrinkCache() {
  const std::vector<int64_t> evicted =
      cache_.ShrinkTo(room_.free_sequences() - std::ssize(keep_later_), room_.free_tokens() - keep_later_tokens_);
  releases_.insert(releases_.end(), evicted.begin(), evicted.end());
}

}  // namespace logitd::server
