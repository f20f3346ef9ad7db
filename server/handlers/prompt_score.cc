#include "server/handlers/prompt_score.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/scorer.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"
#include "server/handlers/row_record.h"

namespace logitd::server {
namespace {

// Rows of logits that come back at once, from a runner that cannot reduce them.
constexpr size_t kRowsAtOnce = 16;

}  // namespace

absl::StatusOr<RecordOptions> PromptRecordFromProto(const v1::RecordOptions& message, int32_t vocab_size) {
  if (message.sampling_log_prob()) {
    return errors::OutOfRange("sampling_log_prob", "true", "false: a prompt's tokens were not drawn");
  }
  if (message.kept_set()) {
    return errors::OutOfRange("kept_set", "true", "false: the stages do not run for a prompt's tokens");
  }
  if (message.draw()) return errors::OutOfRange("draw", "true", "false: a prompt's tokens were not drawn");
  return FromProto(message, vocab_size, /*default_sampling_log_prob=*/false, v1::RECORD_LAYOUT_RECORDS);
}

absl::StatusOr<PromptScore> ScorePrompt(std::span<const TokenId> prompt, const RecordOptions& options,
                                        const CacheScope& scope, int64_t sequence, ModelSession& session,
                                        ServedModel& model, const ServerEnv& env, const RequestContext& context) {
  const Vocabulary& vocabulary = model.vocabulary();
  const auto vocab_size = static_cast<size_t>(model.description().vocab_size);
  const bool by_records = model.capabilities().records;
  PromptScore score;
  v1::ScoredPrompt& scored = score.message;
  const auto add = [&](const TokenRecord& record) {
    if (options.records) ToProto(record, options, &vocabulary, *scored.add_tokens());
  };
  TokenRecord first;
  first.token_id = prompt.front();
  first.origin = TokenOrigin::kGiven;
  first.state = LogProbState::kFirstToken;
  add(first);

  Scorer scorer(options, /*sampling=*/std::nullopt);
  const auto score_row = [&](const RowRecord& row) {
    const auto position = static_cast<size_t>(scorer.token_count()) + 1;
    TokenRecord record = RecordOf(row, prompt[position], options);
    scorer.Add(record, row.argmax);
    // The first token is not the scorer's.
    ++record.position;
    add(record);
  };
  const RecordsWanted wanted{{}, options.top_n, options.named_token_ids, options.rank, options.entropy};
  const bool uses_cache = by_records && !scope.is_private;
  // The records at the beginning may be there. The others need the rows after them, which are evaluated together.
  PathHash hash = env.records.Begin(model.record_scope(), scope.tenant);
  for (size_t i = 0; uses_cache && i + 1 < prompt.size(); ++i) {
    hash.Add(prompt[i]);
    const auto record = env.records.Find(hash, prompt[i + 1], wanted);
    if (!record) break;
    score_row(*record);
  }
  const size_t known = static_cast<size_t>(scorer.token_count());
  const size_t feed_count = prompt.size() - 1;
  hash = env.records.Begin(model.record_scope(), scope.tenant);
  for (size_t fed = 0; known < feed_count && fed < feed_count;) {
    const size_t first_row = std::max(fed, known);
    const size_t count = by_records ? feed_count - fed : std::min(feed_count - fed, kRowsAtOnce);
    SequenceWork work;
    work.sequence_id = sequence;
    work.from_cache = fed == 0;
    const std::span<const TokenId> tokens = prompt.subspan(fed, count);
    work.append_token_ids.assign(tokens.begin(), tokens.end());
    RowRequest& rows = work.rows.emplace_back();
    rows.first_row = static_cast<int32_t>(first_row - fed);
    rows.row_count = static_cast<int32_t>(fed + count - first_row);
    rows.form = LogitsWanted();
    if (by_records) {
      RecordsWanted records = wanted;
      const std::span<const TokenId> targets = prompt.subspan(first_row + 1, fed + count - first_row);
      records.targets.assign(targets.begin(), targets.end());
      rows.form = std::move(records);
    }
    ASSIGN_OR_RETURN(const std::vector<SequenceRows> results, session.Evaluate({std::move(work)}, context));
    RETURN_IF_ERROR(results[0].status);
    score.cached_count += results[0].cached_count;
    score.is_fed = true;
    for (size_t i = fed; i < fed + count; ++i) {
      hash.Add(prompt[i]);
      if (i < first_row) continue;
      const size_t place = i - first_row;
      if (by_records) {
        const RowRecord& row = results[0].requests.front().records[place];
        if (uses_cache) env.records.Put(hash, prompt[i + 1], wanted, row);
        score_row(row);
        continue;
      }
      const LogitsView row(results[0].logits().data() + place * vocab_size, vocab_size);
      ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, env.workspaces.Lend(context));
      auto record = scorer.Score(row, prompt[i + 1], workspace->distribution);
      if (!record.ok()) return AsModelOutputError(record.status());
      ++record->position;
      add(*record);
    }
    fed += count;
  }
  if (scorer.token_count() == 0) {
    // A sum of nothing is no log-prob.
    scored.mutable_totals()->set_token_count(0);
  } else {
    ToProto(scorer.token_count(), scorer.sums(), *scored.mutable_totals());
  }
  return score;
}

}  // namespace logitd::server
