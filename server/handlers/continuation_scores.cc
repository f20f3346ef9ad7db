// Example: a context [a b c] with the continuations [x y] and [x z]. The paths are a b c | x y and a b c | x z. The
// model evaluates a, b, c and x once (models/path_evaluation.h), and its rows come back as records:
//
//   row after c    x, for both
//   row after x    y for the first, z for the second
//
// Equal continuations are one path of the trie, so they have the same bits and tie. Where records do not serve, because
// `sampling` needs whole rows or the runner does not reduce them, the rows come as logits and Scorer reduces them here.
#include "server/handlers/continuation_scores.h"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/scorer.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"
#include "server/handlers/cache_scope.h"
#include "server/handlers/row_record.h"
#include "server/models/path_evaluation.h"

namespace logitd::server {
namespace {

// Rows of logits that come back at once for one continuation.
constexpr size_t kRowsAtOnce = 16;
// The same if somebody watches, who may lose interest after each portion.
constexpr size_t kRowsBetweenLooks = 4;

// Gives the rows of each continuation to its scorer.
class ScoreSink : public PathSink {
 public:
  ScoreSink(const ScoreOptions& options, const RequestContext& context, StepWorkspaces& workspaces)
      : options_(options), context_(context), workspaces_(workspaces) {}

  // `item`, `continuation`: its indices, for the watch.
  void Add(const ContinuationInput& input, size_t item, size_t continuation, ContinuationScore& score) {
    running_.push_back({&input, item, continuation, &score, Scorer(options_.record, options_.sampling)});
    paths_.push_back({*input.context, input.token_ids, input.named});
  }

  const std::vector<TokenPath>& paths() const { return paths_; }

  absl::Status OnRecord(size_t path, size_t target, const RowRecord& row) override {
    Running& running = running_[path];
    TokenRecord record = RecordOf(row, running.input->token_ids[target], options_.record);
    running.scorer.Add(record, row.argmax);
    Take(running, std::move(record));
    return absl::OkStatus();
  }

  absl::Status OnLogits(size_t path, size_t target, LogitsView row) override {
    Running& running = running_[path];
    const ContinuationInput& input = *running.input;
    // The stages may look at the context and at the targets before this one.
    StepContext step;
    step.prompt = *input.context;
    step.output = std::span(input.token_ids).first(target);
    step.position = static_cast<int32_t>(target);
    ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces_.Lend(context_));
    std::span<const TokenId> named;
    if (!input.named.empty()) named = input.named[target];
    auto record = running.scorer.Score(row, input.token_ids[target], workspace->distribution, step, /*next=*/{}, named);
    if (!record.ok()) return AsModelOutputError(record.status());
    Take(running, *std::move(record));
    return absl::OkStatus();
  }

  bool IsWanted(size_t path) override {
    return options_.watch == nullptr || options_.watch->IsWanted(running_[path].item, running_[path].continuation);
  }

  // The path up to the last target that has come. Its targets are empty if none has.
  TokenPath PathSoFar(size_t path) const {
    TokenPath so_far = paths_[path];
    so_far.targets = so_far.targets.first(static_cast<size_t>(running_[path].scorer.token_count()));
    return so_far;
  }

  // The evaluation has ended. Writes the totals, or the error of each continuation.
  void Finish(const PathEvaluation& evaluation) {
    for (size_t path = 0; path < running_.size(); ++path) {
      ContinuationScore& score = *running_[path].score;
      if (!evaluation.status(path).ok()) {
        score = ContinuationScore();
        score.status = evaluation.status(path);
        continue;
      }
      score.token_count = running_[path].scorer.token_count();
      score.sums = running_[path].scorer.sums();
      score.is_greedy = running_[path].scorer.is_greedy();
      score.is_cut = score.token_count < std::ssize(running_[path].input->token_ids);
    }
  }

 private:
  struct Running {
    const ContinuationInput* input;
    size_t item;
    size_t continuation;
    ContinuationScore* score;
    Scorer scorer;
  };

  void Take(Running& running, TokenRecord record) {
    if (options_.watch != nullptr) {
      constexpr double kImpossible = -std::numeric_limits<double>::infinity();
      options_.watch->OnToken(running.item, running.continuation, record.model_log_prob.value_or(kImpossible));
    }
    if (options_.record.records) running.score->tokens.push_back(std::move(record));
  }

  const ScoreOptions& options_;
  const RequestContext& context_;
  StepWorkspaces& workspaces_;
  std::vector<Running> running_;
  std::vector<TokenPath> paths_;
};

}  // namespace

absl::Status ScoreContinuations(const std::vector<ItemInput>& items, const ScoreOptions& options, ServedModel& model,
                                const ServerEnv& env, const RequestContext& context,
                                const std::function<bool(size_t, ItemScores)>& done) {
  PathOptions path_options;
  path_options.scope = options.scope;
  path_options.wanted = {
      {}, options.record.top_n, options.record.named_token_ids, options.record.rank, options.record.entropy};
  // A runner of another numerics version must not reduce rows, and a conditional needs the whole row.
  path_options.as_logits = !model.capabilities().records || options.sampling.has_value();
  if (path_options.as_logits) path_options.rows_at_once = kRowsAtOnce;
  if (options.watch != nullptr) path_options.rows_at_once = kRowsBetweenLooks;
  // Items are evaluated together until they have that many continuations. Their replies wait for each other.
  const RunnerCapacity capacity = model.capacity();
  const bool shares = model.capabilities().fork && !options.scope.isolated_on;
  const size_t at_once = shares ? static_cast<size_t>(MostPathsAtOnce(capacity)) : 1;
  for (size_t begin = 0; begin < items.size();) {
    std::vector<ItemScores> scores;
    ScoreSink sink(options, context, env.workspaces);
    size_t end = begin;
    // Pointers to the scores must stay.
    scores.reserve(std::min(items.size() - begin, at_once));
    for (; end < items.size() && (end == begin || sink.paths().size() < at_once) && scores.size() < scores.capacity();
         ++end) {
      std::vector<ContinuationScore>& continuations = scores.emplace_back().continuations;
      continuations.resize(items[end].continuations.size());
      for (size_t j = 0; j < continuations.size(); ++j) {
        const ContinuationInput& input = items[end].continuations[j];
        continuations[j].status = input.status;
        if (input.status.ok()) sink.Add(input, end, j, continuations[j]);
      }
    }
    {
      // It gives back its room in the runner's cache before a client that may be slow gets the replies.
      PathEvaluation evaluation(path_options, model, env.records, context, sink);
      RETURN_IF_ERROR(evaluation.Run(sink.paths()));
      sink.Finish(evaluation);
      size_t path = 0;
      for (size_t i = begin; i < end; ++i) {
        ItemScores& item = scores[i - begin];
        std::vector<TokenPath> own;
        for (size_t j = 0; j < item.continuations.size(); ++j) {
          if (!items[i].continuations[j].status.ok()) continue;
          const TokenPath so_far = sink.PathSoFar(path);
          if (item.continuations[j].status.ok() && !so_far.targets.empty()) own.push_back(so_far);
          item.evaluated_count += evaluation.evaluated(path++);
        }
        item.cached_count = std::max<int64_t>(0, FedTokens(std::move(own)) - item.evaluated_count);
      }
    }
    for (size_t i = begin; i < end; ++i) {
      if (!done(i, std::move(scores[i - begin]))) return context.Check();
    }
    begin = end;
  }
  return absl::OkStatus();
}

absl::StatusOr<ScoreOptions> OptionsForSums(const v1::EvaluationOptions& evaluation, const v1::RecordOptions& record,
                                            const ServedModel& model, const ServerEnv& env) {
  ScoreOptions options;
  ASSIGN_OR_RETURN(options.scope, ScopeOf(evaluation, model, env));
  ASSIGN_OR_RETURN(options.record,
                   In("record.", FromProto(record, model.description().vocab_size,
                                           /*default_sampling_log_prob=*/false, v1::RECORD_LAYOUT_NONE)));
  options.record.model_log_prob = true;
  options.record.sampling_log_prob = false;
  return options;
}

void ToProto(const ContinuationInput& input, const ContinuationScore& score, const RecordOptions& options,
             const Vocabulary& vocabulary, v1::ScoredContinuation& message) {
  if (!score.status.ok()) {
    *message.mutable_error() = ToProto(score.status);
    return;
  }
  if (input.boundary) *message.mutable_boundary() = *input.boundary;
  message.set_truncated_token_count(input.truncated_count);
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
  usage.set_cached_token_count(static_cast<int32_t>(scores.cached_count));
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
