#include "server/handlers/rolling_score.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/ranker.h"
#include "core/scorer.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/rolling_windows.h"
#include "server/handlers/row_record.h"
#include "server/models/path_evaluation.h"

namespace logitd::server {
namespace {

// Windows are evaluated together while they feed at most this many tokens. One window may feed more.
constexpr int64_t kTokensAtOnce = 1024;
// Rows of logits that come back at once for one window.
constexpr size_t kRowsAtOnce = 16;
// Records that come back at once for one window.
constexpr size_t kRecordsAtOnce = 1024;

// A text's tokens, and the windows over them.
struct Layout {
  std::vector<TokenId> tokens;
  // Tokens at the beginning that are not the text's own: 1 if a token stands before it.
  int64_t own_begin = 0;
  std::vector<RollingWindow> windows;
  v1::TokenizationReport report;
  std::optional<int64_t> byte_count;
  std::optional<int64_t> character_count;
};

absl::StatusOr<Layout> LayOut(const v1::RollingText& text, TokenizationOptions options, ServedModel& model,
                              const RequestContext& context) {
  const ModelDescription& description = model.description();
  if (text.rule() != v1::ROLLING_RULE_UNSPECIFIED && !v1::RollingRule_IsValid(text.rule())) {
    return errors::UnknownEnumValue("rule", text.rule());
  }
  const bool is_strided = text.rule() == v1::ROLLING_RULE_STRIDED;
  const int64_t window = text.has_window() ? text.window() : description.context_length;
  if (window < 1 || window > description.context_length) {
    return errors::OutOfRange("window", window, "in [1, " + std::to_string(description.context_length) + "]");
  }
  const int64_t stride = text.has_stride() ? text.stride() : window;
  if (stride < 1 || stride > window) {
    return errors::OutOfRange("stride", stride, "in [1, " + std::to_string(window) + "], the window");
  }
  if (!is_strided) options.add_special_tokens = false;
  ASSIGN_OR_RETURN(PromptInput input, InputTokens(text.input(), "input", kMaxRollingTokens, options, model, context));
  if (std::ssize(input.token_ids) > kMaxRollingTokens) {
    return errors::AboveLimit("input", std::ssize(input.token_ids), kMaxRollingTokens, 1, "tokens");
  }
  Layout layout;
  layout.report = input.report;
  if (text.input().has_text()) {
    layout.byte_count = std::ssize(text.input().text());
    layout.character_count = CountCharacters(text.input().text());
  } else if (!model.vocabulary().offsets.empty()) {
    std::string bytes;
    for (const TokenId id : input.token_ids) bytes += model.vocabulary().TokenBytes(id);
    if (!bytes.empty()) layout.byte_count = std::ssize(bytes);
    if (!bytes.empty()) layout.character_count = CountCharacters(bytes);
  }
  if (!is_strided) {
    ASSIGN_OR_RETURN(const TokenId before, ImplicitContextToken(description, "input"));
    layout.own_begin = 1;
    layout.tokens.push_back(before);
  }
  layout.tokens.insert(layout.tokens.end(), input.token_ids.begin(), input.token_ids.end());
  const int64_t count = std::ssize(layout.tokens);
  // A shorter window would give another perplexity, so none is taken without a word.
  RETURN_IF_ERROR(model.CheckFitsACache(std::min(window, count - 1), "window"));
  // A text of one token, which nothing comes before, has nothing to score.
  if (count >= 2) {
    layout.windows = is_strided ? StridedWindows(count, window, stride) : LmEvalWindows(count, window, stride);
  }
  return layout;
}

// Adds up the log-probs of each window.
class RollingSink : public PathSink {
 public:
  RollingSink(const RecordOptions& record, const RequestContext& context, StepWorkspaces& workspaces)
      : record_(record), context_(context), workspaces_(workspaces) {}

  void Add(const TokenPath& path) {
    paths_.push_back(path);
    scorers_.emplace_back(record_, std::nullopt);
    log_probs_.emplace_back().reserve(path.targets.size());
  }
  const std::vector<TokenPath>& paths() const { return paths_; }

  absl::Status OnRecord(size_t path, size_t target, const RowRecord& row) override {
    TokenRecord record = RecordOf(row, paths_[path].targets[target], record_);
    scorers_[path].Add(record, row.argmax);
    log_probs_[path].push_back(record.model_log_prob);
    return absl::OkStatus();
  }
  absl::Status OnLogits(size_t path, size_t target, LogitsView row) override {
    ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, workspaces_.Lend(context_));
    const auto record = scorers_[path].Score(row, paths_[path].targets[target], workspace->distribution);
    if (!record.ok()) return AsModelOutputError(record.status());
    log_probs_[path].push_back(record->model_log_prob);
    return absl::OkStatus();
  }

  const Scorer& scorer(size_t path) const { return scorers_[path]; }
  // Unset: the token has none.
  const std::vector<std::optional<double>>& log_probs(size_t path) const { return log_probs_[path]; }

 private:
  const RecordOptions& record_;
  const RequestContext& context_;
  StepWorkspaces& workspaces_;
  std::vector<TokenPath> paths_;
  std::vector<Scorer> scorers_;
  std::vector<std::vector<std::optional<double>>> log_probs_;
};

}  // namespace

absl::Status ScoreRolling(const v1::RollingText& text, const std::string& field, const ScoreOptions& options,
                          const TokenizationOptions& tokenization, ServedModel& model, const ServerEnv& env,
                          const RequestContext& context, v1::ScoreResponse& response) {
  v1::ScoredItem& item = *response.mutable_item();
  const absl::StatusOr<Layout> laid_out = LayOut(text, tokenization, model, context);
  if (!laid_out.ok()) {
    // Errors without a field are the call's.
    if (DetailOf(laid_out.status()).field.empty()) return laid_out.status();
    *item.mutable_error() = ToProto(In(field + ".", laid_out.status()));
    return absl::OkStatus();
  }
  const Layout& layout = *laid_out;
  RecordOptions record;
  record.records = false;
  record.sampling_log_prob = false;
  PathOptions path_options;
  path_options.scope = options.scope;
  path_options.keeps_sequences = false;
  path_options.as_logits = !model.capabilities().records;
  path_options.rows_at_once = path_options.as_logits ? kRowsAtOnce : kRecordsAtOnce;
  path_options.field = field + ".input";

  v1::RollingScore& rolling = *item.mutable_rolling();
  SequenceSums sums;
  bool is_greedy = true;
  int64_t fed = 0;
  int64_t evaluated = 0;
  for (size_t begin = 0; begin < layout.windows.size();) {
    RollingSink sink(record, context, env.workspaces);
    int64_t tokens = 0;
    size_t end = begin;
    for (; end < layout.windows.size(); ++end) {
      const RollingWindow& window = layout.windows[end];
      tokens += window.end - 1 - window.begin;
      if (end > begin && tokens > kTokensAtOnce) break;
      const std::span<const TokenId> all(layout.tokens);
      sink.Add({all.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(window.first - window.begin)),
                all.subspan(static_cast<size_t>(window.first), static_cast<size_t>(window.end - window.first)),
                {}});
      fed += window.end - 1 - window.begin;
    }
    PathEvaluation evaluation(path_options, model, env.records, context, sink);
    RETURN_IF_ERROR(evaluation.Run(sink.paths()));
    for (size_t i = begin; i < end; ++i) {
      const size_t path = i - begin;
      if (!evaluation.status(path).ok()) {
        item.Clear();
        *item.mutable_error() = ToProto(In(field + ".", evaluation.status(path)));
        return absl::OkStatus();
      }
      evaluated += evaluation.evaluated(path);
      const RollingWindow& window = layout.windows[i];
      const Scorer& scorer = sink.scorer(path);
      v1::RollingWindow& message = *rolling.add_windows();
      message.set_first_token(static_cast<int32_t>(window.first - layout.own_begin));
      message.set_token_count(scorer.token_count());
      message.set_context_token_count(static_cast<int32_t>(window.first - window.begin));
      if (scorer.sums().model) message.set_sum_model_log_prob(scorer.sums().model->value());
      is_greedy = is_greedy && scorer.is_greedy();
      // Token by token, so that the sum does not depend on how windows divide it.
      for (const std::optional<double>& log_prob : sink.log_probs(path)) {
        TokenRecord one;
        one.model_log_prob = log_prob;
        sums.Add(one);
      }
    }
    begin = end;
  }
  int64_t scored = 0;
  for (const RollingWindow& window : layout.windows) scored += window.end - window.first;
  v1::ScoredSequence& score = *rolling.mutable_score();
  sums.sampling.reset();
  if (scored == 0) sums.model.reset();
  ToProto(static_cast<int32_t>(scored), sums, *score.mutable_totals());
  if (scored > 0) score.set_is_greedy(is_greedy);
  if (layout.byte_count) score.set_byte_count(static_cast<int32_t>(*layout.byte_count));
  if (layout.character_count) score.set_character_count(static_cast<int32_t>(*layout.character_count));
  if (sums.model && scored > 0) {
    const CandidateScore total{sums.model->value(), static_cast<int32_t>(scored), layout.byte_count,
                               layout.character_count};
    if (const double perplexity = Perplexity(total); std::isfinite(perplexity)) rolling.set_perplexity(perplexity);
    if (const auto bits = BitsPerByte(total)) rolling.set_bits_per_byte(*bits);
  }
  if (layout.own_begin > 0) {
    item.set_context_token_count(static_cast<int32_t>(layout.own_begin));
    item.set_implicit_context_token_id(layout.tokens.front());
  }
  if (HasReport(layout.report)) *item.mutable_tokenization() = layout.report;
  v1::Usage& usage = *response.mutable_usage();
  usage.set_prompt_token_count(static_cast<int32_t>(std::ssize(layout.tokens) - layout.own_begin));
  usage.set_scored_token_count(static_cast<int32_t>(scored));
  usage.set_evaluated_token_count(static_cast<int32_t>(evaluated));
  usage.set_cached_token_count(static_cast<int32_t>(std::max<int64_t>(0, fed - evaluated)));
  return absl::OkStatus();
}

}  // namespace logitd::server
