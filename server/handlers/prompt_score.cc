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

absl::StatusOr<v1::ScoredPrompt> ScorePrompt(std::span<const TokenId> prompt, const RecordOptions& options,
                                             int64_t sequence, ModelSession& session, ServedModel& model,
                                             const RequestContext& context, StepWorkspaces& workspaces) {
  const Vocabulary& vocabulary = model.vocabulary();
  const auto vocab_size = static_cast<size_t>(model.description().vocab_size);
  const bool by_records = model.capabilities().records;
  v1::ScoredPrompt scored;
  const auto add = [&](const TokenRecord& record) {
    if (options.records) ToProto(record, options, &vocabulary, *scored.add_tokens());
  };
  TokenRecord first;
  first.token_id = prompt.front();
  first.origin = TokenOrigin::kGiven;
  first.state = LogProbState::kFirstToken;
  add(first);

  Scorer scorer(options, /*sampling=*/std::nullopt);
  const size_t feed_count = prompt.size() - 1;
  for (size_t fed = 0; fed < feed_count;) {
    const size_t count = by_records ? feed_count - fed : std::min(feed_count - fed, kRowsAtOnce);
    const std::span<const TokenId> targets = prompt.subspan(fed + 1, count);
    SequenceWork work;
    work.sequence_id = sequence;
    const std::span<const TokenId> tokens = prompt.subspan(fed, count);
    work.append_token_ids.assign(tokens.begin(), tokens.end());
    if (by_records) {
      work.AskForAll(RecordsWanted{
          {targets.begin(), targets.end()}, options.top_n, options.named_token_ids, options.rank, options.entropy});
    } else {
      work.AskForAll();
    }
    ASSIGN_OR_RETURN(const std::vector<SequenceRows> results, session.Evaluate({std::move(work)}, context));
    RETURN_IF_ERROR(results[0].status);
    for (size_t i = 0; i < count; ++i) {
      TokenRecord record;
      if (by_records) {
        const RowRecord& row = results[0].requests.front().records[i];
        record = RecordOf(row, targets[i], options);
        scorer.Add(record, row.argmax);
      } else {
        const LogitsView row(results[0].logits().data() + i * vocab_size, vocab_size);
        ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces.Lend(context));
        auto one = scorer.Score(row, targets[i], workspace->distribution);
        if (!one.ok()) return AsModelOutputError(one.status());
        record = *std::move(one);
      }
      // The first token is not the scorer's.
      ++record.position;
      add(record);
    }
    fed += count;
  }
  if (scorer.token_count() == 0) {
    // A sum of nothing is no log-prob.
    scored.mutable_totals()->set_token_count(0);
  } else {
    ToProto(scorer.token_count(), scorer.sums(), *scored.mutable_totals());
  }
  return scored;
}

}  // namespace logitd::server
