#include "server/handlers/continuation_scores.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "core/errors.h"
#include "core/scorer.h"
#include "core/status_macros.h"
#include "server/models/model_session.h"

namespace logitd::server {
namespace {

// Continuations that are evaluated at once: enough to fill a batch, few enough to leave room for other requests.
constexpr size_t kContinuationsAtOnce = 16;
// Rows of logits that come back at once for one continuation (with `sampling`, which needs the whole row).
constexpr size_t kRowsAtOnce = 16;

// A continuation on its way.
struct Running {
  const ItemInput* item;
  const ContinuationInput* input;
  ContinuationScore* score;
  // Index of its item's context in the group.
  size_t context;
  int64_t sequence = 0;
  // What is fed: the last token of the context, then all of its own but the last. Row t predicts token t.
  std::vector<TokenId> fed;
  size_t fed_count = 0;
  Scorer scorer;
  std::optional<int64_t> context_sequence = std::nullopt;
};

// A context that is evaluated once for all of its continuations.
struct Context {
  const ItemInput* item;
  bool is_shared = false;
  std::optional<int64_t> sequence = std::nullopt;
  absl::Status status = absl::OkStatus();
};

int64_t TokensOf(const ContinuationInput& continuation) { return static_cast<int64_t>(continuation.token_ids.size()); }

// The record of a row that the runner has reduced.
TokenRecord RecordOf(const RowRecord& row, TokenId target, const RecordOptions& options) {
  TokenRecord record;
  record.token_id = target;
  if (std::isinf(row.target_log_prob)) {
    record.state = LogProbState::kExcluded;
  } else if (options.model_log_prob) {
    record.model_log_prob = row.target_log_prob;
  }
  record.rank = row.target_rank;
  record.model_entropy = row.entropy;
  if (options.entropy) record.model_log_sum_exp = row.log_sum_exp;
  record.top = row.top;
  record.named = row.named;
  return record;
}

// A bad row is the model's fault, not the request's.
absl::Status AsModelOutputError(const absl::Status& status) {
  const ErrorReason reason = DetailOf(status).reason;
  if (reason != ErrorReason::kNonFiniteLogit && reason != ErrorReason::kNoFiniteLogit) return status;
  return errors::ModelOutputInvalid(DetailOf(status).message);
}

class Evaluation {
 public:
  Evaluation(const ScoreOptions& options, ServedModel& model, const RequestContext& context, StepWorkspaces& workspaces)
      : options_(options), model_(model), context_(context), workspaces_(workspaces), session_(model) {
    // A runner of other numerics must not reduce rows, and a conditional needs the whole row.
    by_records_ = model.capabilities().records && !options.sampling;
    can_fork_ = model.capabilities().fork && session_.capacity().max_sequences > 1;
  }

  // Scores items [begin, end): evaluates their contexts, then their continuations in rounds.
  absl::Status ScoreItems(const std::vector<ItemInput>& items, size_t begin, size_t end,
                          std::vector<std::vector<ContinuationScore>>& scores);

 private:
  absl::Status EvaluateContexts(std::vector<Context>& contexts);
  absl::Status FeedContext(Running& running);
  absl::Status EvaluateRound(std::vector<Running> round);
  SequenceWork WorkOf(Running& running);
  absl::Status TakeRows(Running& running, const SequenceWork& work, const SequenceRows& rows);

  const ScoreOptions& options_;
  ServedModel& model_;
  const RequestContext& context_;
  StepWorkspaces& workspaces_;
  ModelSession session_;
  bool by_records_ = false;
  bool can_fork_ = false;
};

absl::Status Evaluation::ScoreItems(const std::vector<ItemInput>& items, size_t begin, size_t end,
                                    std::vector<std::vector<ContinuationScore>>& scores) {
  std::vector<Context> group;
  std::vector<Running> running;
  // The same tokens after the same context are evaluated once, so that they tie: in another place of a batch the model
  // might give them another last digit.
  std::vector<std::pair<ContinuationScore*, const ContinuationScore*>> copies;
  int64_t shared_tokens = 0;
  int64_t shared_contexts = 0;
  for (size_t i = begin; i < end; ++i) {
    scores[i].resize(items[i].continuations.size());
    Context& context = group.emplace_back(Context{&items[i]});
    bool any = false;
    std::map<std::vector<TokenId>, ContinuationScore*> first_with;
    for (size_t j = 0; j < items[i].continuations.size(); ++j) {
      const ContinuationInput& input = items[i].continuations[j];
      scores[i][j].status = input.status;
      if (!input.status.ok()) continue;
      any = true;
      const auto [first, is_new] = first_with.emplace(input.token_ids, &scores[i][j]);
      if (!is_new) {
        copies.emplace_back(&scores[i][j], first->second);
        continue;
      }
      Running& next = running.emplace_back(
          Running{&items[i], &input, &scores[i][j], i - begin, 0, {}, 0, Scorer(options_.record, options_.sampling)});
      next.fed.push_back(items[i].context_token_ids.back());
      next.fed.insert(next.fed.end(), input.token_ids.begin(), input.token_ids.end() - 1);
    }
    // The last token of a context is fed with each continuation, whose first row it gives.
    context.is_shared = can_fork_ && any && items[i].context_token_ids.size() > 1;
    if (context.is_shared) {
      shared_tokens += std::ssize(items[i].context_token_ids) - 1;
      ++shared_contexts;
    }
  }
  if (running.empty()) return absl::OkStatus();

  // Rounds, as large as the cache allows beside the contexts. A round of one always fits.
  const RunnerCapacity& capacity = session_.capacity();
  const int64_t room = capacity.max_cached_tokens / 2 - shared_tokens;
  const int64_t free_sequences = capacity.max_sequences - shared_contexts;
  // Without forks each continuation has the context to itself: one at a time.
  const auto most = static_cast<size_t>(
      can_fork_ ? std::clamp<int64_t>(free_sequences, 1, static_cast<int64_t>(kContinuationsAtOnce)) : 1);
  std::vector<std::vector<Running>> rounds;
  int64_t round_tokens = 0;
  int64_t most_tokens = 0;
  size_t most_sequences = 0;
  for (Running& next : running) {
    const int64_t tokens = TokensOf(*next.input) + (can_fork_ ? 0 : std::ssize(next.item->context_token_ids) - 1);
    if (rounds.empty() || rounds.back().size() >= most || round_tokens + tokens > room) {
      rounds.emplace_back();
      round_tokens = 0;
    }
    round_tokens += tokens;
    most_tokens = std::max(most_tokens, round_tokens);
    rounds.back().push_back(std::move(next));
    most_sequences = std::max(most_sequences, rounds.back().size());
  }
  RETURN_IF_ERROR(session_.Reserve(static_cast<int32_t>(shared_contexts + static_cast<int64_t>(most_sequences)),
                                   shared_tokens + most_tokens, "items", context_));
  RETURN_IF_ERROR(EvaluateContexts(group));
  for (std::vector<Running>& round : rounds) {
    // What a context failed with is what its continuations fail with, and no others.
    std::erase_if(round, [&group](Running& next) {
      next.score->status = group[next.context].status;
      return !next.score->status.ok();
    });
    for (Running& next : round) next.context_sequence = group[next.context].sequence;
    RETURN_IF_ERROR(EvaluateRound(std::move(round)));
  }
  for (const Context& context : group) {
    if (context.sequence) session_.Release(*context.sequence);
  }
  for (const auto& [copy, original] : copies) *copy = *original;
  return absl::OkStatus();
}

absl::Status Evaluation::EvaluateContexts(std::vector<Context>& contexts) {
  std::vector<SequenceWork> work;
  std::vector<Context*> evaluated;
  for (Context& context : contexts) {
    if (!context.is_shared) continue;
    context.sequence = session_.NewSequence();
    SequenceWork& next = work.emplace_back();
    next.sequence_id = *context.sequence;
    const std::vector<TokenId>& ids = context.item->context_token_ids;
    next.append_token_ids.assign(ids.begin(), ids.end() - 1);
    evaluated.push_back(&context);
  }
  if (work.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<SequenceRows> rows, session_.Evaluate(std::move(work), context_));
  for (size_t i = 0; i < rows.size(); ++i) evaluated[i]->status = rows[i].status;
  return absl::OkStatus();
}

absl::Status Evaluation::FeedContext(Running& running) {
  const std::vector<TokenId>& ids = running.item->context_token_ids;
  if (ids.size() < 2) return absl::OkStatus();
  SequenceWork work;
  work.sequence_id = running.sequence;
  work.append_token_ids.assign(ids.begin(), ids.end() - 1);
  ASSIGN_OR_RETURN(const std::vector<SequenceRows> rows, session_.Evaluate({std::move(work)}, context_));
  running.score->status = rows[0].status;
  return absl::OkStatus();
}

SequenceWork Evaluation::WorkOf(Running& running) {
  SequenceWork work;
  work.sequence_id = running.sequence;
  if (running.fed_count == 0) work.fork_from_sequence_id = running.context_sequence;
  const size_t left = running.fed.size() - running.fed_count;
  const size_t count = by_records_ ? left : std::min(left, kRowsAtOnce);
  const auto begin = running.fed.begin() + static_cast<ptrdiff_t>(running.fed_count);
  work.append_token_ids.assign(begin, begin + static_cast<ptrdiff_t>(count));
  work.want = RowsWanted::kAll;
  if (by_records_) {
    work.records = RecordsWanted{running.input->token_ids, options_.record.top_n, options_.record.named_token_ids,
                                 options_.record.rank, options_.record.entropy};
  }
  return work;
}

absl::Status Evaluation::EvaluateRound(std::vector<Running> round) {
  for (Running& running : round) running.sequence = session_.NewSequence();
  if (!can_fork_ && !round.empty()) {
    RETURN_IF_ERROR(FeedContext(round.front()));
    if (!round.front().score->status.ok()) return absl::OkStatus();
  }
  std::vector<Running*> active;
  for (Running& running : round) active.push_back(&running);
  while (!active.empty()) {
    std::vector<SequenceWork> work;
    for (Running* running : active) work.push_back(WorkOf(*running));
    const std::vector<SequenceWork> asked = work;
    ASSIGN_OR_RETURN(const std::vector<SequenceRows> rows, session_.Evaluate(std::move(work), context_));
    for (size_t i = 0; i < active.size(); ++i) {
      Running& running = *active[i];
      running.score->status = TakeRows(running, asked[i], rows[i]);
      if (!running.score->status.ok()) running.fed_count = running.fed.size();
    }
    std::erase_if(active, [](const Running* running) { return running->fed_count == running->fed.size(); });
  }
  for (Running& running : round) {
    session_.Release(running.sequence);
    if (!running.score->status.ok()) {
      const absl::Status status = running.score->status;
      *running.score = ContinuationScore();
      running.score->status = status;
      continue;
    }
    running.score->token_count = running.scorer.token_count();
    running.score->sums = running.scorer.sums();
    running.score->is_greedy = running.scorer.is_greedy();
  }
  return absl::OkStatus();
}

absl::Status Evaluation::TakeRows(Running& running, const SequenceWork& work, const SequenceRows& rows) {
  RETURN_IF_ERROR(rows.status);
  const auto vocab_size = static_cast<size_t>(model_.description().vocab_size);
  for (size_t i = 0; i < work.append_token_ids.size(); ++i) {
    const TokenId target = running.input->token_ids[running.fed_count];
    TokenRecord record;
    if (by_records_) {
      record = RecordOf(rows.records[i], target, options_.record);
      running.scorer.Add(record, rows.records[i].argmax);
    } else {
      const LogitsView row(rows.logits.data() + i * vocab_size, vocab_size);
      // What the stages may look at: the context, and the targets before this one.
      StepContext step;
      step.prompt = running.item->context_token_ids;
      step.output = std::span(running.input->token_ids).first(running.fed_count);
      step.position = static_cast<int32_t>(running.fed_count);
      ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces_.Lend(context_));
      auto scored = running.scorer.Score(row, target, workspace->distribution, step);
      if (!scored.ok()) return AsModelOutputError(scored.status());
      record = *std::move(scored);
    }
    if (options_.record.records) running.score->tokens.push_back(std::move(record));
    ++running.fed_count;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ScoreContinuations(const std::vector<ItemInput>& items, const ScoreOptions& options, ServedModel& model,
                                const RequestContext& context, StepWorkspaces& workspaces,
                                const std::function<bool(size_t, std::vector<ContinuationScore>)>& done) {
  std::vector<std::vector<ContinuationScore>> scores(items.size());
  const RunnerCapacity capacity = model.capacity();
  size_t begin = 0;
  while (begin < items.size()) {
    // As many whole items as are evaluated at once; at least one.
    size_t end = begin;
    size_t continuations = 0;
    int64_t tokens = 0;
    while (end < items.size()) {
      int64_t item_tokens = static_cast<int64_t>(items[end].context_token_ids.size());
      for (const ContinuationInput& input : items[end].continuations) item_tokens += TokensOf(input);
      const size_t more = items[end].continuations.size();
      const bool fits = continuations + more <= kContinuationsAtOnce &&
                        static_cast<int64_t>(end - begin + 1 + continuations + more) <= capacity.max_sequences / 2 &&
                        tokens + item_tokens <= capacity.max_cached_tokens / 4;
      if (end > begin && !fits) break;
      continuations += more;
      tokens += item_tokens;
      ++end;
    }
    {
      // Its room in the cache is given back before a client that may be slow is written to.
      Evaluation evaluation(options, model, context, workspaces);
      RETURN_IF_ERROR(evaluation.ScoreItems(items, begin, end, scores));
    }
    for (size_t i = begin; i < end; ++i) {
      if (!done(i, std::move(scores[i]))) return context.Check();
    }
    begin = end;
  }
  return absl::OkStatus();
}

}  // namespace logitd::server
