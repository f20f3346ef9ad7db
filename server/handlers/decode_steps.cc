// The steps of one batch of Decode, taken by several threads at once.
//
//   steps      s0 of 7   s1 of 9   s2 of 7   s3 of 4       planned in order: row, alternatives, room for the token
//   sequences  7: s0, s2          9: s1          4: s3     one thread takes all steps of a sequence, in order
//   result     r0        r1        r2        r3            each step writes its own place; sequences end at the end
//
// Where rows are hidden states, a head makes logits of a tile of them, and the steps of that tile are taken before the
// next one's. The steps of a sequence stay in order.
//
// The plan settles everything that depends on earlier steps of other sequences. So no result depends on the number of
// threads, nor on their speed.
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"
#include "server/handlers/decode.h"

namespace logitd::server {
namespace {

// The fixed cost of a step, in values of a row.
constexpr int64_t kStepValues = 2048;
// This many values are worth another thread. 5 rows of 49,152 take 130 us; a thread needs 10 to 50 us to start, and
// longer on busy processors, while the caller waits for the piece that the thread has taken.
constexpr int64_t kHelperValues = 1 << 18;

void SetChosen(const Step& step, const RecordOptions& record, v1::StepChosen& chosen) {
  if (step.token) ToProto(*step.token, record, nullptr, *chosen.add_tokens());
  ToProto(step.token_count, step.sums, *chosen.mutable_totals());
  ToProto(step.sums, *chosen.mutable_resume_state());
  if (step.finish) ToProto(*step.finish, *chosen.mutable_finish());
}

}  // namespace

struct DecodeSession::PlannedStep {
  // Null: the sequence is not open.
  OpenedSequence* sequence = nullptr;
  int32_t row = 0;
  // The next step of the same sequence; -1: none.
  int next = -1;
  bool is_first = true;
  // Not OK: why the step is not taken.
  absl::Status refusal;
  // Set by the thread that takes it.
  bool is_done = false;
};

// The steps of one sequence in a batch, in order.
struct DecodeSession::Chain {
  int first = 0;
  // The next step to take; -1: none is left.
  int next = 0;
  bool has_ended = false;
};

std::vector<DecodeSession::PlannedStep> DecodeSession::PlanSteps(const v1::StepBatch& batch, const WireRows& rows) {
  std::vector<PlannedStep> plans(static_cast<size_t>(batch.steps_size()));
  std::unordered_map<int64_t, int> latest;
  int64_t alternatives = 0;
  int64_t token_bytes = 0;
  for (int i = 0; i < batch.steps_size(); ++i) {
    const v1::SequenceStep& step = batch.steps(i);
    PlannedStep& plan = plans[static_cast<size_t>(i)];
    plan.row = step.has_row() ? step.row() : i;
    const auto found = sequences_.find(step.sequence_id());
    if (found == sequences_.end()) {
      plan.refusal = errors::SequenceNotOpen("sequence_id", step.sequence_id());
      continue;
    }
    plan.sequence = &found->second;
    const auto [before, is_first] = latest.try_emplace(step.sequence_id(), i);
    plan.is_first = is_first;
    if (!is_first) plans[static_cast<size_t>(std::exchange(before->second, i))].next = i;
    if (plan.row < 0 || plan.row >= rows.row_count()) {
      plan.refusal = errors::RowIndexOutOfRange("row", plan.row, rows.row_count());
      continue;
    }
    const Decoder& decoder = *plan.sequence->decoder;
    const RecordOptions& record = decoder.config().record;
    const int64_t named_count =
        step.named_token_ids().empty() ? std::ssize(record.named_token_ids) : step.named_token_ids_size();
    if (record.records) alternatives += record.top_n + named_count;
    if (alternatives > kMaxAlternatives) {
      plan.refusal = errors::AboveLimit("sequence_id", alternatives, kMaxAlternatives, 0, "alternatives in one reply");
      continue;
    }
    if (!decoder.sequence().keeps_tokens()) continue;
    token_bytes += static_cast<int64_t>(sizeof(TokenId));
    if (state_bytes_ + token_bytes > kMaxStreamStateBytes) {
      plan.refusal =
          errors::AboveLimit("sequence_id", state_bytes_ + token_bytes, kMaxStreamStateBytes, 0, kStreamState);
    }
  }
  return plans;
}

absl::Status DecodeSession::TakeSteps(const v1::StepBatch& batch, const WireRows& rows, const RequestContext& context,
                                      StepWorkspaces& workspaces, v1::BatchResult& result) {
  std::vector<PlannedStep> plans = PlanSteps(batch, rows);
  const auto plan_of = [&plans](int i) -> PlannedStep& { return plans[static_cast<size_t>(i)]; };
  result.mutable_steps()->Reserve(batch.steps_size());
  std::vector<Chain> chains;
  std::vector<int32_t> row_indices;
  for (int i = 0; i < batch.steps_size(); ++i) {
    v1::StepResult& stepped = *result.add_steps();
    stepped.set_sequence_id(batch.steps(i).sequence_id());
    stepped.set_position(batch.steps(i).position());
    if (plan_of(i).is_first) chains.push_back({i, i});
    row_indices.push_back(plan_of(i).refusal.ok() ? plan_of(i).row : -1);
  }

  HiddenRows hidden(rows, workspaces, context);
  std::mutex mutex;
  absl::Status given_up;
  std::atomic<bool> is_given_up = false;
  for (int begin = 0; begin < batch.steps_size() && !is_given_up;) {
    const auto ready = hidden.Prepare(std::span(row_indices).subspan(static_cast<size_t>(begin)));
    if (!ready.ok()) {
      is_given_up = true;
      given_up = ready.status();
      break;
    }
    const int end = begin + static_cast<int>(*ready);
    // The sequences with steps in [begin, end).
    std::vector<Chain*> running;
    for (Chain& chain : chains) {
      if (chain.next >= 0 && chain.next < end) running.push_back(&chain);
    }
    int64_t values = 0;
    for (int i = begin; i < end; ++i) {
      values += kStepValues + (plan_of(i).refusal.ok() ? rows.width(plan_of(i).row) : 0);
    }
    workspaces.crew().Run(running.size(), static_cast<size_t>(values / kHelperValues), [&](size_t sequence) {
      Chain& chain = *running[sequence];
      for (; chain.next >= 0 && chain.next < end; chain.next = plan_of(chain.next).next) {
        if (is_given_up) return;
        const auto workspace = workspaces.Lend(context);
        if (!workspace.ok()) {
          std::lock_guard lock(mutex);
          if (!is_given_up.exchange(true)) given_up = workspace.status();
          return;
        }
        const int i = chain.next;
        PlannedStep& plan = plan_of(i);
        const v1::SequenceStep& step = batch.steps(i);
        v1::StepResult& stepped = *result.mutable_steps(i);
        absl::Status status =
            chain.has_ended ? errors::SequenceNotOpen("sequence_id", step.sequence_id()) : plan.refusal;
        if (status.ok()) status = TakeStep(step, plan, rows, hidden, **workspace, stepped);
        if (!status.ok()) {
          *stepped.mutable_error() = ToProto(In(Element("batch.steps", i, "."), status));
        }
        // An error ends its own sequence only.
        chain.has_ended = stepped.has_error() || stepped.chosen().has_finish();
        plan.is_done = true;
      }
    });
    begin = end;
  }

  int done_count = 0;
  while (done_count < batch.steps_size() && plans[static_cast<size_t>(done_count)].is_done) ++done_count;
  if (is_given_up) result.mutable_steps()->DeleteSubrange(done_count, batch.steps_size() - done_count);
  for (const Chain& chain : chains) {
    OpenedSequence* const sequence = plan_of(chain.first).sequence;
    if (sequence == nullptr) continue;
    bool has_ended = false;
    for (int i = chain.first; i >= 0 && i < result.steps_size(); i = plan_of(i).next) {
      has_ended |= result.steps(i).has_error() || result.steps(i).chosen().has_finish();
    }
    has_ended ? Erase(batch.steps(chain.first).sequence_id()) : CountTokens(*sequence);
  }
  return given_up;
}

absl::Status DecodeSession::TakeStep(const v1::SequenceStep& step, const PlannedStep& plan, const WireRows& rows,
                                     const HiddenRows& hidden, StepWorkspace& workspace, v1::StepResult& result) const {
  StepInputs inputs;
  std::optional<VocabSubset> allowed;
  if (step.has_allowed_tokens()) {
    ASSIGN_OR_RETURN(allowed, In("allowed_tokens.", FromProto(step.allowed_tokens(), vocab_size_)));
    inputs.allowed = &*allowed;
  }
  if (step.has_given_token_id()) {
    if (step.given_token_id() < 0 || step.given_token_id() >= vocab_size_) {
      return errors::TokenIdOutOfRange("given_token_id", step.given_token_id(), vocab_size_);
    }
    inputs.given_token_id = step.given_token_id();
  }
  inputs.named_token_ids = Ids(step.named_token_ids());
  if (std::ssize(inputs.named_token_ids) > kMaxNamedTokens) {
    return errors::AboveLimit("named_token_ids", std::ssize(inputs.named_token_ids), kMaxNamedTokens);
  }
  RETURN_IF_ERROR(CheckTokenIds(inputs.named_token_ids, "named_token_ids", vocab_size_));

  Decoder& decoder = *plan.sequence->decoder;
  if (step.position() == decoder.position() && now_ >= plan.sequence->end_time) {
    SetChosen({.token_count = decoder.position(),
               .sums = decoder.sequence().sums(),
               .finish = Finish{FinishReason::kTimeLimit}},
              decoder.config().record, *result.mutable_chosen());
    return absl::OkStatus();
  }
  const auto row = hidden.Row(plan.row, workspace.row);
  if (!row.ok()) return WithRow(row.status(), plan.row);
  const std::optional<RowTail> tail = rows.Tail(plan.row);
  if (tail) {
    inputs.tail = &*tail;
  } else if (step.has_dense_row()) {
    return errors::OutOfRange("dense_row", int64_t{step.dense_row()}, "unset except for a row with a tail");
  }
  if (step.has_dense_row() && (step.dense_row() < 0 || step.dense_row() >= rows.row_count())) {
    return errors::RowIndexOutOfRange("dense_row", step.dense_row(), rows.row_count());
  }
  if (step.has_dense_row() && !rows.IsDense(step.dense_row())) {
    return errors::OutOfRange("dense_row", int64_t{step.dense_row()}, "the index of a dense row");
  }
  auto advanced = decoder.Advance(step.position(), *row, workspace.distribution, inputs);
  // Few steps get here.
  RowBuffers dense_buffers;
  LogitsRow dense;
  int32_t row_index = plan.row;
  if (advanced.ok() && advanced->is_rest && step.has_dense_row()) {
    row_index = step.dense_row();
    ASSIGN_OR_RETURN(dense, rows.Row(row_index, dense_buffers));
    inputs.dense_row = &dense;
    advanced = decoder.Advance(step.position(), *row, workspace.distribution, inputs);
  }
  if (!advanced.ok()) return WithRow(advanced.status(), row_index);
  if (advanced->is_rest) {
    result.mutable_rest();
    return absl::OkStatus();
  }
  SetChosen(*advanced, decoder.config().record, *result.mutable_chosen());
  return absl::OkStatus();
}

}  // namespace logitd::server
