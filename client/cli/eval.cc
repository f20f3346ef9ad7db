// `logit eval ITEMS.jsonl`: the accuracy of multiple-choice items and the perplexity of texts.
#include <cmath>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/eval_item.h"
#include "client/cli/eval_metrics.h"
#include "client/cli/file_run.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/json_object.h"
#include "client/cli/request_fields.h"
#include "client/cli/rolling_flags.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/logitd/client_error.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace logitd::cli {
namespace {

constexpr int kDefaultResamples = 1000;
constexpr int kMaxResamples = 100'000;
constexpr char kDefaultDelimiter[] = " ";

std::string JsonBool(bool value) { return value ? "true" : "false"; }

// The sum of a sequence. One with a token of probability zero has none on the wire: here it is -inf.
double SumOf(const v1::ScoredSequence& score) {
  const v1::SequenceTotals& totals = score.totals();
  return totals.has_cumulative_model_log_prob() ? totals.cumulative_model_log_prob() : -HUGE_VAL;
}

// The score of an item for perplexity.
const v1::ScoredSequence& TextScore(const v1::ScoredItem& item) {
  return item.has_rolling() ? item.rolling().score() : item.continuations(0).score();
}

// The first error of the item, or of one of its parts. An impossible choice only loses; with an impossible text the
// perplexity of all texts would be infinite, so that text has an error. Unset: the item counts.
std::optional<v1::Error> ErrorOf(const v1::ScoredItem& scored, const EvalItem& item) {
  if (scored.has_error()) return scored.error();
  for (const v1::ScoredContinuation& continuation : scored.continuations()) {
    if (continuation.has_error()) return continuation.error();
  }
  if (item.answer || TextScore(scored).totals().has_cumulative_model_log_prob()) return std::nullopt;
  v1::Error error;
  error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  error.set_reason(v1::ERROR_REASON_NORMALIZATION_UNDEFINED);
  error.set_field(scored.has_rolling() ? "text" : "continuation");
  error.set_message(absl::StrCat(error.field(), " has a token of probability zero, so its perplexity is infinite"));
  return error;
}

// An item's line of the output. It begins with its place (FileRun).
std::string OutcomeLine(const v1::ScoreResponse& response, const EvalItem& item) {
  const std::string id = ToJsonArray({response.id()});
  std::string line = absl::StrCat("{\"item_index\":", response.item_index(), ",\"id\":", id.substr(1, id.size() - 2));
  if (const std::optional<v1::Error> error = ErrorOf(response.item(), item)) {
    return absl::StrCat(line, ",\"error\":", ToJson(*error), "}");
  }
  std::vector<double> sums;
  for (const v1::ScoredContinuation& continuation : response.item().continuations()) {
    sums.push_back(SumOf(continuation.score()));
  }
  if (item.answer) {
    const ChoiceOutcome outcome = Judge(item, sums);
    const auto number = [](std::string* out, double value) { out->append(JsonNumber(value)); };
    return absl::StrCat(line, ",\"acc\":", JsonBool(outcome.acc), ",\"acc_norm\":", JsonBool(outcome.acc_norm),
                        ",\"acc_bytes\":", JsonBool(outcome.acc_bytes), ",\"answer\":", *item.answer, ",\"sums\":[",
                        absl::StrJoin(sums, ",", number), "]}");
  }
  const v1::ScoredSequence& score = TextScore(response.item());
  return absl::StrCat(line, ",\"sum\":", JsonNumber(SumOf(score)), ",\"token_count\":", score.totals().token_count(),
                      ",\"byte_count\":", score.byte_count(), ",\"greedy\":", JsonBool(score.is_greedy()), "}");
}

// Takes an item's line apart again, of this run or of one before.
class Outcomes {
 public:
  absl::Status Take(std::string_view line) {
    google::protobuf::Struct fields;
    if (!google::protobuf::util::JsonStringToMessage(std::string(line), &fields).ok()) {
      return client::InputError("out", "", "", "a line of the output is no JSON: the file was changed");
    }
    const auto value = [&fields](const char* key) { return fields.fields().at(key); };
    const auto has = [&fields](const char* key) { return fields.fields().count(key) > 0; };
    if (has("acc") && has("acc_norm") && has("acc_bytes")) {
      choices_.push_back({.acc = value("acc").bool_value(),
                          .acc_norm = value("acc_norm").bool_value(),
                          .acc_bytes = value("acc_bytes").bool_value()});
    } else if (has("sum") && has("token_count") && has("byte_count") && has("greedy")) {
      texts_.push_back({.sum = value("sum").number_value(),
                        .token_count = static_cast<int64_t>(value("token_count").number_value()),
                        .byte_count = static_cast<int64_t>(value("byte_count").number_value()),
                        .is_greedy = value("greedy").bool_value()});
    }
    return absl::OkStatus();
  }

  std::vector<Metric> Metrics(int resamples, uint64_t seed) const {
    return MetricsOf(choices_, texts_, resamples, seed);
  }

 private:
  std::vector<ChoiceOutcome> choices_;
  std::vector<TextOutcome> texts_;
};

void Print(const std::vector<Metric>& metrics, const std::string& summary, Session& session) {
  std::ostream& out = session.out();
  if (!session.json) {
    Table table({{"metric", Table::kLeft, Table::kWhole, /*is_key=*/true}, {"value"}, {"standard error"}});
    for (const Metric& metric : metrics) {
      table.Add({{metric.name}, {ShowNumber(metric.value)}, {ShowNumber(metric.standard_error)}});
    }
    out << (metrics.empty() ? "" : table.Render(session.style())) << summary;
    return;
  }
  const auto show = [](std::string* text, const Metric& metric) {
    absl::StrAppend(text, "{\"name\":\"", metric.name, "\",\"value\":", JsonNumber(metric.value),
                    ",\"standard_error\":", JsonNumber(metric.standard_error), "}");
  };
  // Into the summary's object.
  out << summary.substr(0, summary.rfind('}')) << ",\"metrics\":[" << absl::StrJoin(metrics, ",", show) << "]}\n";
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  if (arguments.positionals().size() != 1) {
    return UsageError("ITEMS", "ITEMS.jsonl is missing: eval takes one file, with one item a line in JSON");
  }
  if (arguments.Has("--resume") && !arguments.Has("--out")) {
    return UsageError("--resume", "--resume needs --out, the file of the outcomes");
  }
  ASSIGN_OR_RETURN(const auto seed, arguments.Get<uint64_t>("--bootstrap-seed"));
  ASSIGN_OR_RETURN(const auto resamples, arguments.Get<int32_t>("--resamples"));
  if (resamples && (*resamples < 2 || *resamples > kMaxResamples)) {
    return UsageError("--resamples", arguments.Value("--resamples"), absl::StrCat("in [2, ", kMaxResamples, "]"));
  }
  const std::string delimiter = arguments.Has("--delimiter") ? arguments.Value("--delimiter") : kDefaultDelimiter;
  v1::ScoreRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  if (request.tokenization().boundary() == v1::BOUNDARY_UNSPECIFIED) {
    request.mutable_tokenization()->set_boundary(v1::BOUNDARY_LM_EVAL);
  }
  request.mutable_record()->set_layout(v1::RECORD_LAYOUT_NONE);
  v1::RollingText windows;
  RETURN_IF_ERROR(SetWindows(arguments, windows));

  ASSIGN_OR_RETURN(FileRun run,
                   FileRun::Begin("eval", arguments, request, request.model(), session,
                                  {{"delimiter", ToJsonArray({delimiter})}, {"window_rule", ToJson(windows)}}));
  const FileCall<v1::ScoreItem, v1::ScoreRequest, v1::ScoreResponse, EvalItem> call = {
      .send = [&session](const auto& message, const auto& on_item) { return session.client->Score(message, on_item); },
      .read =
          [&](const InputLine& line, v1::ScoreItem* score, EvalItem* item) {
            std::optional<LineError> error = ReadEvalItem(line, run.in(), delimiter, score, item);
            if (!error && score->has_rolling()) score->mutable_rolling()->MergeFrom(windows);
            return error;
          },
      .show = OutcomeLine,
  };
  Outcomes outcomes;
  ASSIGN_OR_RETURN(const client::ItemFileCounts counts,
                   AnswerFile(request, call, run, [&](std::string_view line) { return outcomes.Take(line); }));
  Print(outcomes.Metrics(resamples.value_or(kDefaultResamples), seed.value_or(0)), run.Summary(counts), session);
  return run.failed_count() > 0 ? kExitItemFailed : kExitOk;
}

}  // namespace

Command EvalCommand() {
  return {
      .name = "eval",
      .purpose = "accuracy of multiple-choice items, perplexity of texts",
      .positionals = "ITEMS.jsonl",
      .summary =
          "Scores the items of a file, one a line of JSON: {context, choices, answer}, {context, continuation} or "
          "{text}. Prints acc, acc_norm and acc_bytes of the first kind, perplexity and bits_per_byte of the others, "
          "each with a bootstrap error. An item that fails counts in none of them.",
      .examples =
          "echo '{\"context\": \"1 + 1 =\", \"choices\": [\"2\", \"3\"], \"answer\": 0}' > items.jsonl\n"
          "logit eval items.jsonl\n"
          "logit eval items.jsonl --out outcomes.jsonl --resume --json\n",
      .groups = {{"Request",
                  Joined({{ModelFlag(),
                           {"--delimiter", "", "TEXT",
                            "between a context and each choice or continuation; counts in no length; default a space"},
                           {"--boundary", "tokenization.boundary", "RULE",
                            "how two texts become tokens: lm-eval (default, the harness's rule), joint or separate"},
                           TruncationFlag()},
                          RollingFlags(),
                          TokenizationFlags(),
                          ReproducibleFlags()})},
                 {"Errors",
                  {{"--resamples", "", "N", "resamples of the bootstrap, in [2, 100000]; default 1000"},
                   {"--bootstrap-seed", "", "SEED", "seed of the bootstrap, in [0, 2^64); default 0"}}},
                 {"A file of items", FileFlags()}},
      .request = v1::ScoreRequest::descriptor(),
      .run = Run};
}

}  // namespace logitd::cli
