// A runner is lost during Evaluate(work):
//
//   EvaluateThere(work)      fails with RUNNER_LOST
//   CountLoss                does not count a bystander, gives a suspect a strike, and counts any other loss in
//                            lost_runners_; the request fails here if it was one loss too many
//   Settle                   takes a runner with room for all that the sequences hold, and evaluates the rounds of
//                            PlanRebuild there; a loss or a suspension meanwhile begins this step again
//   EvaluateThere(work)      again, now on the new runner
//
// A session that was suspended for an older one goes through Settle and EvaluateThere in the same way.
#include "server/models/model_session.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "server/models/rebuild_plan.h"

namespace logitd::server {

namespace {

// Replaces every choice by a request for the logits of its row, with each row asked for once. Returns for each old
// request the index of the new one that answers it; empty: nothing was changed.
std::vector<size_t> ChooseFromLogits(SequenceWork& work) {
  const auto is_choice = [](const RowRequest& request) { return std::holds_alternative<ChoiceWanted>(request.form); };
  if (std::none_of(work.rows.begin(), work.rows.end(), is_choice)) return {};
  std::vector<RowRequest> rows;
  std::vector<size_t> answers;
  // Keyed by row.
  std::map<int32_t, size_t> logits;
  for (RowRequest& request : work.rows) {
    if (!is_choice(request)) {
      answers.push_back(rows.size());
      rows.push_back(std::move(request));
      continue;
    }
    const auto [found, is_new] = logits.emplace(request.first_row, rows.size());
    if (is_new) rows.push_back({request.first_row, 1, LogitsWanted()});
    answers.push_back(found->second);
  }
  work.rows = std::move(rows);
  return answers;
}

}  // namespace

absl::Status ModelSession::Reserve(const RoomNeeded& room, const std::string& field, const RequestContext& context) {
  room_ = room;
  room_.begins_with = {};
  const std::string tenant = RunnerSession::TenantOf(scope_, age_);
  const auto knows = [&](const AttachedRunner& runner) {
    return !room.begins_with.empty() && runner.scheduler()->Knows(tenant, room.begins_with);
  };
  while (true) {
    ASSIGN_OR_RETURN(const auto runner, model_.Pick(room.sequences, std::max(room.tokens, room.most_tokens), field,
                                                    context, knows, scope_.isolated_on));
    const absl::Status status = TakeRunner(*runner, room, field, context);
    // The session may lose its room before it has begun.
    if (IsSuspended(status)) continue;
    if (!IsRunnerLost(status)) return status;
    RETURN_IF_ERROR(CountLoss({}));
  }
}

absl::Status ModelSession::TakeRunner(const AttachedRunner& runner, const RoomNeeded& room, const std::string& field,
                                      const RequestContext& context) {
  const bool keeps_its_turn = runner_ && runner_->is_suspended() && runner_->is_of(*runner.scheduler());
  if (!keeps_its_turn) runner_.emplace(runner.scheduler(), age_, scope_);
  can_choose_ = runner.can_choose() && !uses_rows_;
  // An isolated session holds nothing in the cache that others use.
  if (!scope_.isolated_on) return runner_->Reserve(room, field, context);
  runner_->BeginIsolated();
  return absl::OkStatus();
}

bool ModelSession::IsSuspended(const absl::Status& status) const {
  return absl::IsAborted(status) && runner_ && runner_->is_suspended();
}

int64_t ModelSession::NewSequence() {
  sequences_.emplace(++last_sequence_id_, Tracked());
  return last_sequence_id_;
}

void ModelSession::Release(int64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return;
  if (runner_ && found->second.runner_sequence_id != 0) runner_->Release(found->second.runner_sequence_id);
  sequences_.erase(found);
}

void ModelSession::Publish(int64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end() || !runner_ || found->second.runner_sequence_id == 0) return;
  runner_->Publish(found->second.runner_sequence_id, found->second.tokens);
}

void ModelSession::Keep(int64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) return;
  if (runner_ && found->second.runner_sequence_id != 0) {
    runner_->Keep(found->second.runner_sequence_id, std::move(found->second.tokens));
  }
  sequences_.erase(found);
}

absl::StatusOr<std::vector<SequenceRows>> ModelSession::Evaluate(std::vector<SequenceWork> work,
                                                                 const RequestContext& context,
                                                                 std::vector<SequenceWork> ahead) {
  RETURN_IF_ERROR(Recall(work));
  // A session that must be alone sends one job at a time.
  if (strikes_.is_alone()) ahead.clear();
  if (strikes_.is_alone() && !ahead_ids_.empty()) Suspend();
  if (!runner_) RETURN_IF_ERROR(Settle(work, context));
  absl::StatusOr<std::vector<SequenceRows>> rows =
      ahead_ids_.empty() ? EvaluateThere(work, context, std::move(ahead)) : TakeAhead(work, context, std::move(ahead));
  while (!rows.ok() && (IsRunnerLost(rows.status()) || IsSuspended(rows.status()))) {
    if (IsRunnerLost(rows.status())) RETURN_IF_ERROR(CountLoss(work));
    RETURN_IF_ERROR(Settle(work, context));
    rows = EvaluateThere(work, context);
  }
  RETURN_IF_ERROR(rows.status());
  RETURN_IF_ERROR(model_.MakeLogits(*rows, context));
  OnSuccess(work);
  // Copies first: tokens that the source gets in the same batch come after the copy.
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

void ModelSession::NumberThere(std::vector<SequenceWork>& work) {
  for (SequenceWork& next : work) {
    for (RowRequest& request : next.rows) {
      auto* choice = std::get_if<ChoiceWanted>(&request.form);
      if (choice == nullptr) continue;
      int64_t& there = sequences_[choice->decoder_id].runner_sequence_id;
      if (there == 0) {
        there = runner_->NewSequence();
        choice->start = choice->source->Start();
      }
      choice->decoder_id = there;
    }
    if (next.append_chosen) next.append_chosen = sequences_[*next.append_chosen].runner_sequence_id;
    int64_t& there = sequences_[next.sequence_id].runner_sequence_id;
    if (there == 0) there = runner_->NewSequence();
    next.sequence_id = there;
  }
  for (SequenceWork& next : work) {
    if (next.fork_from_sequence_id) {
      next.fork_from_sequence_id = sequences_[*next.fork_from_sequence_id].runner_sequence_id;
    }
  }
}

std::vector<SequenceWork> ModelSession::AheadThere(std::vector<SequenceWork> ahead) {
  ahead_ids_.clear();
  if (!can_choose_ || !runner_->can_run_ahead()) return {};
  for (const SequenceWork& next : ahead) ahead_ids_.push_back(next.sequence_id);
  NumberThere(ahead);
  return ahead;
}

absl::StatusOr<std::vector<SequenceRows>> ModelSession::EvaluateThere(std::vector<SequenceWork> work,
                                                                      const RequestContext& context,
                                                                      std::vector<SequenceWork> ahead) {
  // For each work: the index of the request that answers each of its own.
  std::vector<std::vector<size_t>> answers;
  for (SequenceWork& next : work) {
    if (!can_choose_) answers.push_back(ChooseFromLogits(next));
  }
  NumberThere(work);
  ahead = AheadThere(std::move(ahead));
  const bool is_isolated = scope_.isolated_on.has_value();
  for (SequenceWork& next : work) next.is_isolated = is_isolated;
  runner_->SetAlone(strikes_.is_alone() || is_isolated, is_quiet_);
  ASSIGN_OR_RETURN(std::vector<SequenceRows> rows, runner_->Evaluate(std::move(work), context, std::move(ahead)));
  // There was no room for it.
  if (!runner_->has_ahead()) ahead_ids_.clear();
  for (size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].empty()) continue;
    std::vector<RequestRows> requests;
    for (const size_t answer : answers[i]) requests.push_back(rows[i].requests[answer]);
    rows[i].requests = std::move(requests);
  }
  return rows;
}

absl::StatusOr<std::vector<SequenceRows>> ModelSession::TakeAhead(const std::vector<SequenceWork>& work,
                                                                  const RequestContext& context,
                                                                  std::vector<SequenceWork> ahead) {
  const std::vector<int64_t> ids = std::move(ahead_ids_);
  ahead_ids_.clear();
  const auto place_of = [&ids](const SequenceWork& next) {
    return std::find(ids.begin(), ids.end(), next.sequence_id) - ids.begin();
  };
  const auto is_ahead = [&](const SequenceWork& next) { return place_of(next) < std::ssize(ids); };
  if (std::none_of(work.begin(), work.end(), is_ahead)) {
    // All sequences that ran ahead have ended.
    return EvaluateThere(work, context, std::move(ahead));
  }
  if (!std::all_of(work.begin(), work.end(), is_ahead)) {
    Suspend();
    RETURN_IF_ERROR(Settle(work, context));
    return EvaluateThere(work, context, std::move(ahead));
  }
  ahead = AheadThere(std::move(ahead));
  ASSIGN_OR_RETURN(std::vector<SequenceRows> all, runner_->EvaluateAhead(context, std::move(ahead)));
  if (!runner_->has_ahead()) ahead_ids_.clear();
  std::vector<SequenceRows> rows;
  for (const SequenceWork& next : work) {
    SequenceRows& result = rows.emplace_back(std::move(all[static_cast<size_t>(place_of(next))]));
    if (result.skipped && result.status.ok()) {
      result.status = errors::ModelOutputInvalid("the runner says that a sequence has ended which goes on");
    }
  }
  return rows;
}

std::span<const TokenId> ModelSession::TokensBefore(const SequenceWork& work) const {
  const auto found = sequences_.find(work.fork_from_sequence_id.value_or(work.sequence_id));
  return found == sequences_.end() ? std::span<const TokenId>() : found->second.tokens;
}

WorkFingerprint ModelSession::FingerprintOf(const std::vector<SequenceWork>& work) const {
  WorkFingerprint fingerprint;
  for (const SequenceWork& next : work) fingerprint.AddSequence(TokensBefore(next), next.append_token_ids);
  return fingerprint;
}

absl::Status ModelSession::Recall(const std::vector<SequenceWork>& work) {
  size_t token_count = 0;
  for (const SequenceWork& next : work) token_count += TokensBefore(next).size() + next.append_token_ids.size();
  if (!model_.suspects().MayKnow(token_count)) return absl::OkStatus();
  const SuspectMemory::Known known = model_.suspects().Find(FingerprintOf(work));
  strikes_.StartWith(known.strikes);
  // A client that gives up at each doubt must not begin with another one.
  is_quiet_ = is_quiet_ || known.strikes >= kStrikesToBeAlone;
  return strikes_.is_refused() ? errors::RunnerKilled(model_.description().name, known.signal) : absl::OkStatus();
}

absl::Status ModelSession::CountLoss(const std::vector<SequenceWork>& work) {
  // The loss was not this request's fault. The guilty request will be refused, so this cannot go on for ever.
  if (runner_->suspicion() == Suspicion::kBystander) return absl::OkStatus();
  // The doubt must be resolved without texts: a client that has texts tokenised all the time must not protect a guilty
  // request.
  if (runner_->suspicion() == Suspicion::kDoubt) is_quiet_ = true;
  if (runner_->suspicion() == Suspicion::kSuspect) {
    strikes_.Add();
    model_.suspects().Remember(FingerprintOf(work), strikes_.count(), runner_->signal());
    return strikes_.is_refused() ? errors::RunnerKilled(model_.description().name, runner_->signal())
                                 : absl::OkStatus();
  }
  if (++lost_runners_ <= kMaxLostRunners) return absl::OkStatus();
  return errors::RunnerLost(model_.description().name);
}

void ModelSession::OnSuccess(const std::vector<SequenceWork>& work) {
  if (strikes_.is_alone() && strikes_.count() > 0) model_.suspects().Forget(FingerprintOf(work));
  strikes_.OnSuccess();
  is_quiet_ = false;
}

absl::Status ModelSession::Settle(const std::vector<SequenceWork>& work, const RequestContext& context) {
  while (true) {
    for (auto& [sequence_id, sequence] : sequences_) sequence.runner_sequence_id = 0;
    ahead_ids_.clear();
    // A suspended session keeps its turn.
    if (runner_ && !runner_->is_suspended()) runner_.reset();
    std::vector<std::vector<SequenceWork>> rounds = PlanRebuild();
    RoomNeeded room = room_;
    // The tokens of all sequences and of `work`.
    int64_t tokens = 0;
    for (const SequenceWork& next : work) tokens += static_cast<int64_t>(next.token_count());
    for (const std::vector<SequenceWork>& round : rounds) {
      for (const SequenceWork& next : round) tokens += static_cast<int64_t>(next.token_count());
    }
    // Adds as many tokens as the session has grown by so far, because a session that has come this far goes on for a
    // while. With less room it would soon be suspended again.
    const int64_t grown = std::max<int64_t>(0, tokens - room.tokens);
    room.tokens = std::min(room.tokens + 2 * grown, std::max(room.tokens, room.most_tokens));
    const auto runner =
        model_.Pick(room.sequences, std::max(room.tokens, room.most_tokens), "", context, nullptr, scope_.isolated_on);
    // The request fitted when it came. If the fleet has shrunk since, that is not the request's fault.
    if (DetailOf(runner.status()).reason == ErrorReason::kLimitExceeded) {
      return errors::RunnerLost(model_.description().name);
    }
    RETURN_IF_ERROR(runner.status());
    absl::Status status = TakeRunner(**runner, room, "", context);
    for (size_t i = 0; i < rounds.size() && status.ok(); ++i) {
      // The new runner, or this one, may have some of the tokens.
      for (SequenceWork& next : rounds[i]) {
        next.from_cache =
            !scope_.isolated_on && !next.fork_from_sequence_id && sequences_[next.sequence_id].runner_sequence_id == 0;
      }
      const auto rows = EvaluateThere(std::move(rounds[i]), context);
      status = rows.status();
      for (size_t j = 0; status.ok() && j < rows->size(); ++j) status = (*rows)[j].status;
    }
    if (IsSuspended(status)) continue;
    if (!status.ok() && !IsRunnerLost(status)) Suspend();
    if (!IsRunnerLost(status)) return status;
    RETURN_IF_ERROR(CountLoss(work));
  }
}

void ModelSession::Suspend() {
  runner_.reset();
  ahead_ids_.clear();
}

std::vector<std::vector<SequenceWork>> ModelSession::PlanRebuild() const {
  std::vector<SequenceTokens> wanted;
  for (const auto& [sequence_id, sequence] : sequences_) {
    if (!sequence.tokens.empty()) wanted.push_back({sequence_id, sequence.tokens});
  }
  return RebuildPlan(wanted, model_.capabilities().fork);
}

}  // namespace logitd::server
