#include "server/models/model_session.h"

#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"
#include "server/models/rebuild_plan.h"

namespace logitd::server {

absl::Status ModelSession::Reserve(int32_t sequences, int64_t tokens, const std::string& field,
                                   const RequestContext& context) {
  reserved_sequences_ = sequences;
  reserved_tokens_ = tokens;
  while (true) {
    ASSIGN_OR_RETURN(const auto runner, model_.Pick(sequences, tokens, field, context));
    const absl::Status status = TakeRunner(*runner, field, context);
    if (!IsRunnerLost(status)) return status;
    RETURN_IF_ERROR(CountLoss());
  }
}

absl::Status ModelSession::TakeRunner(const AttachedRunner& runner, const std::string& field,
                                      const RequestContext& context) {
  runner_.emplace(runner.scheduler());
  return runner_->Reserve(reserved_sequences_, reserved_tokens_, field, context);
}

int64_t ModelSession::NewSequence() {
  sequences_.emplace(++last_sequence_id_, Sequence());
  return last_sequence_id_;
}

void ModelSession::Release(int64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return;
  if (runner_ && found->second.runner_sequence_id != 0) runner_->Release(found->second.runner_sequence_id);
  sequences_.erase(found);
}

absl::StatusOr<std::vector<SequenceRows>> ModelSession::Evaluate(std::vector<SequenceWork> work,
                                                                 const RequestContext& context) {
  if (!runner_) RETURN_IF_ERROR(Settle(context));
  absl::StatusOr<std::vector<SequenceRows>> rows = EvaluateThere(work, context);
  while (!rows.ok() && IsRunnerLost(rows.status())) {
    RETURN_IF_ERROR(CountLoss());
    RETURN_IF_ERROR(Settle(context));
    rows = EvaluateThere(work, context);
  }
  RETURN_IF_ERROR(rows.status());
  // Sources first: what they get in the same batch comes after the copy.
  for (const SequenceWork& done : work) {
    if (done.fork_from_sequence_id) {
      sequences_[done.sequence_id].tokens = sequences_[*done.fork_from_sequence_id].tokens;
    }
  }
  for (size_t i = 0; i < work.size(); ++i) {
    std::vector<TokenId>& tokens = sequences_[work[i].sequence_id].tokens;
    tokens.insert(tokens.end(), work[i].append_token_ids.begin(), work[i].append_token_ids.end());
    if (!(*rows)[i].status.ok()) Release(work[i].sequence_id);
  }
  return rows;
}

absl::StatusOr<std::vector<SequenceRows>> ModelSession::EvaluateThere(std::vector<SequenceWork> work,
                                                                      const RequestContext& context) {
  for (SequenceWork& next : work) {
    int64_t& there = sequences_[next.sequence_id].runner_sequence_id;
    if (there == 0) there = runner_->NewSequence();
    next.sequence_id = there;
  }
  for (SequenceWork& next : work) {
    if (next.fork_from_sequence_id) {
      next.fork_from_sequence_id = sequences_[*next.fork_from_sequence_id].runner_sequence_id;
    }
  }
  return runner_->Evaluate(std::move(work), context);
}

absl::Status ModelSession::CountLoss() {
  if (++lost_runners_ <= kMaxLostRunners) return absl::OkStatus();
  return errors::RunnerLost(model_.description().name);
}

absl::Status ModelSession::Settle(const RequestContext& context) {
  while (true) {
    for (auto& [sequence_id, sequence] : sequences_) sequence.runner_sequence_id = 0;
    runner_.reset();
    const auto runner = model_.Pick(reserved_sequences_, reserved_tokens_, "", context);
    // What the request asked for fitted when it came: a fleet that has shrunk since is not its fault.
    if (DetailOf(runner.status()).reason == ErrorReason::kLimitExceeded) {
      return errors::RunnerLost(model_.description().name);
    }
    RETURN_IF_ERROR(runner.status());
    absl::Status status = TakeRunner(**runner, "", context);
    if (status.ok()) status = Rebuild(context);
    if (!IsRunnerLost(status)) return status;
    RETURN_IF_ERROR(CountLoss());
  }
}

void ModelSession::Suspend() { runner_.reset(); }

absl::Status ModelSession::Rebuild(const RequestContext& context) {
  std::vector<SequenceTokens> wanted;
  for (const auto& [sequence_id, sequence] : sequences_) {
    if (!sequence.tokens.empty()) wanted.push_back({sequence_id, sequence.tokens});
  }
  for (std::vector<SequenceWork>& round : RebuildPlan(wanted, model_.capabilities().fork)) {
    ASSIGN_OR_RETURN(const std::vector<SequenceRows> rows, EvaluateThere(std::move(round), context));
    for (const SequenceRows& result : rows) RETURN_IF_ERROR(result.status);
  }
  return absl::OkStatus();
}

}  // namespace logitd::server
