#include "server/models/runner_session.h"

#include <algorithm>
#include <atomic>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::server {

int64_t RunnerSession::NewAge() {
  static std::atomic<int64_t> last = 0;
  return ++last;
}

RunnerSession::~RunnerSession() {
  DropAhead();
  scheduler_->LeaveSession(this);
}

absl::Status RunnerSession::Reserve(const RoomNeeded& room, const std::string& field, const RequestContext& context) {
  const RunnerCapacity& capacity = scheduler_->capacity();
  if (room.sequences > capacity.max_sequences) {
    return errors::AboveLimit(field, room.sequences, {"capacity.max_sequences", capacity.max_sequences}, 1,
                              "sequences");
  }
  most_tokens_ = std::max(room.tokens, room.most_tokens);
  if (most_tokens_ > capacity.max_cached_tokens) {
    return errors::AboveLimit(field, most_tokens_, {"capacity.max_cached_tokens", capacity.max_cached_tokens}, 1,
                              "tokens");
  }
  cached_.Clear();
  RETURN_IF_ERROR(scheduler_->AcquireRoom(this, room.sequences, room.tokens, context));
  has_room_ = true;
  return absl::OkStatus();
}

void RunnerSession::BeginIsolated() {
  is_isolated_ = true;
  scheduler_->BeginIsolated();
}

bool RunnerSession::is_suspended() const {
  std::lock_guard lock(scheduler_->mutex_);
  return share_.is_suspended;
}

int64_t RunnerSession::NewSequence() { return scheduler_->NewSequence(this); }

void RunnerSession::Release(int64_t sequence_id) {
  cached_.Release(sequence_id);
  scheduler_->ReleaseSequence(this, sequence_id);
}

void RunnerSession::Publish(int64_t sequence_id, const std::vector<TokenId>& tokens) {
  std::lock_guard lock(scheduler_->mutex_);
  if (dropped_.contains(sequence_id)) return;
  scheduler_->cache_.Publish(sequence_id, tenant_, tokens);
}

void RunnerSession::Keep(int64_t sequence_id, std::vector<TokenId> tokens) {
  cached_.Release(sequence_id);
  scheduler_->KeepSequence(this, sequence_id, std::move(tokens));
}

int64_t RunnerSession::TokensAfter(const std::vector<SequenceWork>& work) const {
  int64_t tokens = cached_.count();
  for (const SequenceWork& next : work) tokens += static_cast<int64_t>(next.token_count());
  return tokens;
}

int64_t RunnerSession::RoomFor(const std::vector<SequenceWork>& work) const {
  const int64_t tokens = TokensAfter(work);
  return std::max(tokens, std::min(tokens + kGrowTokens * std::ssize(work), most_tokens_));
}

absl::StatusOr<std::vector<SequenceRows>> RunnerSession::Evaluate(std::vector<SequenceWork> work,
                                                                  const RequestContext& context,
                                                                  std::vector<SequenceWork> ahead) {
  DropAhead();
  if (has_room_) RETURN_IF_ERROR(scheduler_->GrowRoom(this, TokensAfter(work), RoomFor(work), context));
  cached_.Add(work);
  return WaitFor(scheduler_->Begin(this, std::move(work), nullptr, context), context, std::move(ahead));
}

absl::StatusOr<std::vector<SequenceRows>> RunnerSession::EvaluateAhead(const RequestContext& context,
                                                                       std::vector<SequenceWork> ahead) {
  if (ahead.empty()) scheduler_->StopExpecting(this);
  return WaitFor(std::exchange(ahead_, nullptr), context, std::move(ahead));
}

absl::StatusOr<std::vector<SequenceRows>> RunnerSession::WaitFor(std::shared_ptr<Job> job,
                                                                 const RequestContext& context,
                                                                 std::vector<SequenceWork> ahead) {
  if (!ahead.empty() && (!has_room_ || scheduler_->TryToGrowRoom(this, TokensAfter(ahead), RoomFor(ahead)))) {
    cached_.Add(ahead);
    ahead_ = scheduler_->Begin(this, std::move(ahead), job, context);
  }
  auto rows = scheduler_->Wait(this, job, context);
  if (!rows.ok()) DropAhead();
  return rows;
}

void RunnerSession::DropAhead() {
  if (ahead_ != nullptr) scheduler_->Abandon(std::exchange(ahead_, nullptr));
}

}  // namespace logitd::server
