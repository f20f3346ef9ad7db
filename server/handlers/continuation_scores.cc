// Groups of continuations (shared_contexts.h) are evaluated in rounds. Example: contexts [a b c] and [a b d], with the
// continuations [x y] and [z]:
//
//   shared    a  b              evaluated once, as a sequence; each round's sequences are forks of it
//   fork 1          c   x       feeds c, then x: the row after c predicts x, the row after x predicts y
//   fork 2          d           feeds d: its row predicts z
//
// - A context's last token is never shared: it is fed with the continuation, whose first row it gives. A continuation's
//   last token is never fed.
// - A round holds as many continuations as the cache has room for beside the shared tokens. A runner that cannot fork
//   takes one continuation at a time, which feeds all of its context.
// - Equal tokens after an equal context are evaluated once, so that they tie.
// - The runner reduces rows to records where it can; else kRowsAtOnce rows at a time come back, and Scorer reduces
//   them.
#include "server/handlers/continuation_scores.h"

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/scorer.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"
#include "server/handlers/row_record.h"
#include "server/handlers/shared_contexts.h"
#include "server/models/model_session.h"

namespace logitd::server {
namespace {

// Continuations in evaluation at once: enough to fill a batch, few enough to leave room for other requests.
constexpr size_t kContinuationsAtOnce = 16;
// Rows of logits that come back at once for one continuation, if records do not serve (`sampling` needs whole rows).
constexpr size_t kRowsAtOnce = 16;

// A continuation in evaluation.
struct Running {
  const ContinuationInput* input;
  ContinuationScore* score;
  // Index of its group among the groups of this evaluation.
  size_t context;
  // The part of its context that is fed first: neither the shared tokens nor the last one.
  std::span<const TokenId> own_context;
  // Fed next: the context's last token, then the continuation without its last token. Row t predicts token t.
  std::vector<TokenId> fed;
  Scorer scorer;
  // The item's.
  int64_t* evaluated_count;
  int64_t sequence = 0;
  size_t fed_count = 0;
  std::optional<int64_t> context_sequence = std::nullopt;
};

// The tokens that a group's contexts share, evaluated once for all of its continuations.
struct Context {
  std::span<const TokenId> tokens;
  // The item's.
  int64_t* evaluated_count = nullptr;
  std::optional<int64_t> sequence = std::nullopt;
  absl::Status status = absl::OkStatus();
};

int64_t TokensOf(const ContinuationInput& continuation) { return static_cast<int64_t>(continuation.token_ids.size()); }

class Evaluation {
 public:
  Evaluation(const ScoreOptions& options, ServedModel& model, const RequestContext& context, StepWorkspaces& workspaces)
      : options_(options), model_(model), context_(context), workspaces_(workspaces), session_(model) {
    // A runner of another numerics version must not reduce rows, and a conditional needs the whole row.
    by_records_ = model.capabilities().records && !options.sampling;
    can_fork_ = model.capabilities().fork && session_.capacity().max_sequences > 1;
  }

  // Scores the continuations of `groups`: evaluates the shared tokens, then the continuations in rounds.
  absl::Status ScoreGroups(const std::vector<ItemInput>& items, std::span<const ContextGroup> groups,
                           std::vector<ItemScores>& scores);

 private:
  absl::Status EvaluateContexts(std::vector<Context>& contexts);
  absl::Status FeedOwnContexts(std::vector<Running>& round);
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

absl::Status Evaluation::ScoreGroups(const std::vector<ItemInput>& items, std::span<const ContextGroup> groups,
                                     std::vector<ItemScores>& scores) {
  std::vector<Context> contexts;
  std::vector<Running> running;
  // Equal tokens after an equal context are evaluated once, so that they tie: at another place in a batch the model
  // might give them another last digit.
  std::vector<std::pair<ContinuationScore*, const ContinuationScore*>> copies;
  int64_t shared_tokens = 0;
  int64_t shared_contexts = 0;
  for (const ContextGroup& group : groups) {
    const ItemInput& item = items[group.item_index];
    const std::vector<TokenId>& first = *item.continuations[group.continuations.front()].context;
    Context& context = contexts.emplace_back();
    context.evaluated_count = &scores[group.item_index].evaluated_count;
    if (can_fork_) context.tokens = std::span(first).first(group.shared_count);
    if (!context.tokens.empty()) {
      shared_tokens += std::ssize(context.tokens);
      ++shared_contexts;
    }
    // The key is every token after the shared ones.
    std::map<std::tuple<std::vector<TokenId>, std::vector<TokenId>, NamedByPosition>, ContinuationScore*> first_with;
    for (const size_t j : group.continuations) {
      const ContinuationInput& input = item.continuations[j];
      ContinuationScore& score = scores[group.item_index].continuations[j];
      const auto own = std::span(*input.context).subspan(group.shared_count);
      const auto [same, is_new] = first_with.emplace(
          std::tuple(std::vector<TokenId>(own.begin(), own.end()), input.token_ids, input.named), &score);
      if (!is_new) {
        copies.emplace_back(&score, same->second);
        continue;
      }
      const std::span<const TokenId> body = std::span(*input.context).first(input.context->size() - 1);
      Running& next = running.emplace_back(Running{&input,
                                                   &score,
                                                   contexts.size() - 1,
                                                   body.subspan(context.tokens.size()),
                                                   {},
                                                   Scorer(options_.record, options_.sampling),
                                                   context.evaluated_count});
      next.fed.push_back(input.context->back());
      next.fed.insert(next.fed.end(), input.token_ids.begin(), input.token_ids.end() - 1);
    }
  }
  if (running.empty()) return absl::OkStatus();

  // A round is as large as the cache allows beside the contexts. A round of one always fits.
  const RunnerCapacity& capacity = session_.capacity();
  const int64_t room = capacity.max_cached_tokens / 2 - shared_tokens;
  const int64_t free_sequences = capacity.max_sequences - shared_contexts;
  // Without forks each continuation evaluates its whole context, one at a time.
  const auto most = static_cast<size_t>(
      can_fork_ ? std::clamp<int64_t>(free_sequences, 1, static_cast<int64_t>(kContinuationsAtOnce)) : 1);
  std::vector<std::vector<Running>> rounds;
  int64_t round_tokens = 0;
  int64_t most_tokens = 0;
  size_t most_sequences = 0;
  for (Running& next : running) {
    const int64_t tokens = TokensOf(*next.input) + std::ssize(next.own_context);
    if (rounds.empty() || rounds.back().size() >= most || round_tokens + tokens > room) {
      rounds.emplace_back();
      round_tokens = 0;
    }
    round_tokens += tokens;
    most_tokens = std::max(most_tokens, round_tokens);
    rounds.back().push_back(std::move(next));
    most_sequences = std::max(most_sequences, rounds.back().size());
  }
  RETURN_IF_ERROR(session_.Reserve(
      {static_cast<int32_t>(shared_contexts + static_cast<int64_t>(most_sequences)), shared_tokens + most_tokens, 0},
      "items", context_));
  RETURN_IF_ERROR(EvaluateContexts(contexts));
  for (std::vector<Running>& round : rounds) {
    // The failure of a context is that of its continuations, and of no others.
    std::erase_if(round, [&contexts](Running& next) {
      next.score->status = contexts[next.context].status;
      return !next.score->status.ok();
    });
    for (Running& next : round) next.context_sequence = contexts[next.context].sequence;
    RETURN_IF_ERROR(EvaluateRound(std::move(round)));
  }
  for (const Context& context : contexts) {
    if (context.sequence) session_.Release(*context.sequence);
  }
  for (const auto& [copy, original] : copies) *copy = *original;
  return absl::OkStatus();
}

absl::Status Evaluation::EvaluateContexts(std::vector<Context>& contexts) {
  std::vector<SequenceWork> work;
  std::vector<Context*> evaluated;
  for (Context& context : contexts) {
    if (context.tokens.empty()) continue;
    context.sequence = session_.NewSequence();
    SequenceWork& next = work.emplace_back();
    next.sequence_id = *context.sequence;
    next.append_token_ids.assign(context.tokens.begin(), context.tokens.end());
    *context.evaluated_count += std::ssize(context.tokens);
    evaluated.push_back(&context);
  }
  if (work.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<SequenceRows> rows, session_.Evaluate(std::move(work), context_));
  for (size_t i = 0; i < rows.size(); ++i) evaluated[i]->status = rows[i].status;
  return absl::OkStatus();
}

// Feeds the own part of each context. It asks for no rows, which would cost as much as everything else.
absl::Status Evaluation::FeedOwnContexts(std::vector<Running>& round) {
  std::vector<SequenceWork> work;
  std::vector<Running*> fed;
  for (Running& running : round) {
    if (running.own_context.empty()) continue;
    SequenceWork& next = work.emplace_back();
    next.sequence_id = running.sequence;
    next.fork_from_sequence_id = std::exchange(running.context_sequence, std::nullopt);
    next.append_token_ids.assign(running.own_context.begin(), running.own_context.end());
    *running.evaluated_count += std::ssize(running.own_context);
    fed.push_back(&running);
  }
  if (work.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<SequenceRows> rows, session_.Evaluate(std::move(work), context_));
  for (size_t i = 0; i < rows.size(); ++i) fed[i]->score->status = rows[i].status;
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
  *running.evaluated_count += static_cast<int64_t>(count);
  const auto records = [&](std::vector<TokenId> targets, std::vector<TokenId> named) {
    return RecordsWanted{std::move(targets), options_.record.top_n, std::move(named), options_.record.rank,
                         options_.record.entropy};
  };
  const NamedByPosition& named = running.input->named;
  if (!by_records_) {
    work.AskForAll();
  } else if (named.empty()) {
    work.AskForAll(records(running.input->token_ids, options_.record.named_token_ids));
  } else {
    // Each row names its own tokens, so each needs a request of its own.
    for (size_t i = 0; i < count; ++i) {
      std::vector<TokenId> ids = options_.record.named_token_ids;
      ids.insert(ids.end(), named[i].begin(), named[i].end());
      work.rows.push_back({static_cast<int32_t>(i), 1, records({running.input->token_ids[i]}, std::move(ids))});
    }
  }
  return work;
}

absl::Status Evaluation::EvaluateRound(std::vector<Running> round) {
  for (Running& running : round) running.sequence = session_.NewSequence();
  RETURN_IF_ERROR(FeedOwnContexts(round));
  std::vector<Running*> active;
  for (Running& running : round) {
    if (running.score->status.ok()) active.push_back(&running);
  }
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
      const bool has_own_requests = !running.input->named.empty();
      const RowRecord& row = has_own_requests ? rows.requests[i].records.front() : rows.requests.front().records[i];
      record = RecordOf(row, target, options_.record);
      running.scorer.Add(record, row.argmax);
    } else {
      const LogitsView row(rows.logits().data() + i * vocab_size, vocab_size);
      // The stages may look at the context and at the targets before this one.
      StepContext step;
      step.prompt = *running.input->context;
      step.output = std::span(running.input->token_ids).first(running.fed_count);
      step.position = static_cast<int32_t>(running.fed_count);
      ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces_.Lend(context_));
      std::span<const TokenId> named;
      if (!running.input->named.empty()) named = running.input->named[running.fed_count];
      auto scored = running.scorer.Score(row, target, workspace->distribution, step, /*next=*/{}, named);
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
                                const std::function<bool(size_t, ItemScores)>& done) {
  std::vector<ItemScores> scores(items.size());
  std::vector<ContextGroup> groups;
  for (size_t i = 0; i < items.size(); ++i) {
    for (const ContinuationInput& input : items[i].continuations)
      scores[i].continuations.emplace_back().status = input.status;
    for (ContextGroup& group : GroupByContext(items[i], i)) groups.push_back(std::move(group));
  }
  const RunnerCapacity capacity = model.capacity();
  size_t begin = 0;
  size_t next_item = 0;
  while (next_item < items.size()) {
    // As many whole groups as fit kContinuationsAtOnce, at least one.
    size_t end = begin;
    size_t continuations = 0;
    int64_t tokens = 0;
    while (end < groups.size()) {
      const ContextGroup& group = groups[end];
      auto group_tokens = static_cast<int64_t>(group.shared_count);
      for (const size_t j : group.continuations) {
        const ContinuationInput& input = items[group.item_index].continuations[j];
        group_tokens += TokensOf(input) + std::ssize(*input.context) - static_cast<int64_t>(group.shared_count);
      }
      const size_t more = group.continuations.size();
      const bool fits = continuations + more <= kContinuationsAtOnce &&
                        static_cast<int64_t>(end - begin + 1 + continuations + more) <= capacity.max_sequences / 2 &&
                        tokens + group_tokens <= capacity.max_cached_tokens / 4;
      if (end > begin && !fits) break;
      continuations += more;
      tokens += group_tokens;
      ++end;
    }
    if (end > begin) {
      // Give back the cache room before writing to a client that may be slow.
      Evaluation evaluation(options, model, context, workspaces);
      RETURN_IF_ERROR(evaluation.ScoreGroups(items, std::span(groups).subspan(begin, end - begin), scores));
    }
    begin = end;
    // Items whose last group is done, and items without groups.
    const size_t done_items = begin < groups.size() ? groups[begin].item_index : items.size();
    for (; next_item < done_items; ++next_item) {
      if (!done(next_item, std::move(scores[next_item]))) return context.Check();
    }
  }
  return absl::OkStatus();
}

void ToProto(const ContinuationInput& input, const ContinuationScore& score, const RecordOptions& options,
             const Vocabulary& vocabulary, v1::ScoredContinuation& message) {
  if (!score.status.ok()) {
    *message.mutable_error() = ToProto(score.status);
    return;
  }
  if (input.boundary) *message.mutable_boundary() = *input.boundary;
  v1::ScoredSequence& sequence = *message.mutable_score();
  for (const TokenRecord& record : score.tokens) ToProto(record, options, &vocabulary, *sequence.add_tokens());
  ToProto(score.token_count, score.sums, *sequence.mutable_totals());
  sequence.set_is_greedy(score.is_greedy);
  if (input.byte_count) sequence.set_byte_count(static_cast<int32_t>(*input.byte_count));
  if (input.character_count) sequence.set_character_count(static_cast<int32_t>(*input.character_count));
}

v1::Usage UsageOf(const ItemInput& input, const ItemScores& scores) {
  v1::Usage usage;
  usage.set_prompt_token_count(static_cast<int32_t>(input.context->size()));
  usage.set_evaluated_token_count(static_cast<int32_t>(scores.evaluated_count));
  int64_t scored = 0;
  for (const ContinuationScore& score : scores.continuations) scored += score.token_count;
  usage.set_scored_token_count(static_cast<int32_t>(scored));
  return usage;
}

absl::Status CheckAlternatives(const std::vector<ItemInput>& items, const RecordOptions& options) {
  const int64_t per_token = options.top_n + static_cast<int64_t>(options.named_token_ids.size());
  int64_t alternatives = 0;
  for (const ItemInput& item : items) {
    for (const ContinuationInput& input : item.continuations) {
      alternatives += static_cast<int64_t>(input.token_ids.size()) * per_token + CountOf(input.named);
    }
  }
  if (alternatives > kMaxAlternatives) {
    return errors::AboveLimit("record.top_n", alternatives, kMaxAlternatives, 0, "alternatives in one reply");
  }
  return absl::OkStatus();
}

}  // namespace logitd::server
