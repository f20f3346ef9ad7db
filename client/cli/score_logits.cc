#include "client/cli/score_logits.h"

#include <algorithm>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/gradient_file.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/request_fields.h"
#include "client/cli/score_view.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "client/logitd/npy_file.h"
#include "client/logitd/score_rows.h"

namespace logitd::cli {
namespace {

// A label shows at most this many targets.
constexpr size_t kTargetsInLabel = 12;
// A target that is not scored.
constexpr int32_t kNotScored = -100;

// The targets of each sequence; row t predicts target t.
using Targets = std::vector<std::vector<int32_t>>;

absl::StatusOr<Targets> TargetsFromFlags(const Arguments& arguments, const client::LogitsRows& rows) {
  Targets targets;
  for (const std::string& value : arguments.Values("--targets")) {
    RETURN_IF_ERROR(ParseValue("--targets", value, targets.emplace_back()));
  }
  if (static_cast<int64_t>(targets.size()) != rows.sequence_count()) {
    return UsageError("--targets", absl::StrCat(targets.size()), absl::StrCat(rows.sequence_count(), " lists"),
                      absl::StrCat("--targets must be given once for each of the ", rows.sequence_count(),
                                   " sequences of --logits, got ", targets.size(), " of them"));
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    if (static_cast<int64_t>(targets[i].size()) == rows.row_count()) continue;
    return UsageError("--targets", absl::StrCat(targets[i].size()), absl::StrCat(rows.row_count(), " token ids"),
                      absl::StrCat("--targets must be one token id for each of the ", rows.row_count(),
                                   " rows of sequence ", i, ", got ", targets[i].size()));
  }
  return targets;
}

absl::StatusOr<Targets> TargetsFromFile(const Arguments& arguments, const client::LogitsRows& rows,
                                        Environment& environment) {
  const std::string& path = arguments.Value("--targets-file");
  if (path == "-" && arguments.Value("--logits") == "-") {
    return UsageError("--targets-file", "--logits and --targets-file cannot both be standard input");
  }
  ASSIGN_OR_RETURN(client::NpyFile npy,
                   client::NpyFile::Open({"--targets-file", path, client::NpyContent::kTokenIds}, environment.in));
  const std::vector<int64_t>& shape = npy.shape();
  const std::vector<int64_t> batch = {rows.sequence_count(), rows.row_count()};
  const std::vector<int64_t> single = {rows.row_count()};
  if (shape != batch && !(rows.sequence_count() == 1 && shape == single)) {
    const std::string bound = absl::StrCat("[", batch[0], ", ", batch[1], "]");
    return npy.Error(absl::StrCat("its shape must be that of the rows of --logits, ", bound, ", got ", npy.ShowShape()),
                     bound);
  }
  Targets targets(static_cast<size_t>(rows.sequence_count()));
  for (std::vector<int32_t>& ids : targets) RETURN_IF_ERROR(npy.ReadIds(rows.row_count(), ids));
  return targets;
}

// Refuses flags that do not go with rows from a file, and flags that exclude each other.
absl::Status CheckFlags(const Arguments& arguments, const std::vector<Flag>& request_flags) {
  if (!arguments.Has("--logits")) {
    return UsageError("--logits", absl::StrCat(arguments.FirstOf(ScoreLogitsFlags())->name,
                                               " goes with --logits FILE.npy, which is missing"));
  }
  if (!arguments.positionals().empty()) {
    return UsageError("CONTEXT",
                      "CONTEXT and CONTINUATION do not go with --logits: give the tokens to score as --targets IDS");
  }
  if (const Flag* flag = arguments.FirstOf(request_flags)) {
    return UsageError(flag->name, absl::StrCat(flag->name, " does not go with --logits: no model is asked"));
  }
  if (arguments.Has("--targets") == arguments.Has("--targets-file")) {
    return UsageError("--targets", arguments.Has("--targets")
                                       ? "--targets and --targets-file exclude each other"
                                       : "--targets is missing: the token ids to score, one for each row");
  }
  if (arguments.Has("--sums-only") && arguments.Has("--explain")) {
    return UsageError("--sums-only", "--sums-only and --explain exclude each other");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::ScoreLogitsConfig> ConfigFrom(const Arguments& arguments, bool json) {
  v1::ScoreLogitsConfig config;
  RETURN_IF_ERROR(SetFields(arguments, config));
  RETURN_IF_ERROR(CheckRecord(arguments, config.record(), config.has_sampling()));
  const bool sums_only = arguments.Has("--sums-only");
  if (config.has_record() && sums_only) {
    return UsageError("--sums-only",
                      "--sums-only leaves out the tokens, and with them what --rank, --entropy, --top-n "
                      "and --kept-set ask for");
  }
  // A flag of the record asks to see the tokens. The table shows sums alone: tokens that nothing shows are not sent, so
  // that a file of any length can be scored.
  const bool needs_records = arguments.Has("--explain") || (json && !sums_only) || config.has_record();
  if (arguments.Has("--explain")) {
    config.mutable_record()->set_rank(true);
    config.mutable_record()->set_entropy(true);
  }
  if (!needs_records) config.mutable_record()->set_layout(v1::RECORD_LAYOUT_NONE);
  return config;
}

std::string LabelOf(const std::vector<int32_t>& targets, const Style& style) {
  // More than these would be cut.
  const size_t count = style.width > 0 ? std::min(targets.size(), kTargetsInLabel) : targets.size();
  const std::string ids = absl::StrJoin(targets.begin(), targets.begin() + static_cast<std::ptrdiff_t>(count), ",");
  return absl::StrCat("[", ids, count < targets.size() ? ",…" : "", "]");
}

// Shows the sequences; their answers come one by one, in the order of the file.
class SequencePrinter {
 public:
  SequencePrinter(const Targets& targets, bool list_tokens, bool has_sampling, Session& session)
      : targets_(targets), list_tokens_(list_tokens), has_sampling_(has_sampling), session_(session) {}

  // `response` answers the sequence after the last one.
  void Put(const v1::ScoreLogitsResponse& response) {
    std::ostream& out = session_.out();
    const int index = item_.continuations_size();
    v1::ScoredContinuation& continuation = *item_.add_continuations();
    if (response.has_error()) {
      *continuation.mutable_error() = response.error();
      has_failure_ = true;
    }
    if (session_.json) {
      out << ToJson(response) << "\n" << std::flush;
      return;
    }
    labels_.push_back(LabelOf(targets_[static_cast<size_t>(index)], session_.style()));
    if (list_tokens_) {
      out << Bold(absl::StrCat("sequence ", index), session_.colour) << "\n";
      if (!response.has_error()) {
        out << TokenTable(response.score().tokens(), session_.style(), /*has_text=*/false) << "\n" << std::flush;
      }
    }
    if (response.has_error()) return;
    *continuation.mutable_score() = response.score();
    continuation.mutable_score()->clear_tokens();
  }

  // The sums of all of them.
  void PrintTotals() {
    if (session_.json) return;
    std::ostream& out = session_.out();
    if (list_tokens_) out << Bold("in total", session_.colour) << "\n";
    out << ScoreSummary(item_, labels_, session_.style(), "targets", has_sampling_, "sequence");
    if (list_tokens_ && session_.colour) out << "\n" << LogProbLegend(session_.style()) << "\n";
  }

  bool has_failure() const { return has_failure_; }

 private:
  const Targets& targets_;
  const bool list_tokens_;
  const bool has_sampling_;
  Session& session_;
  // The sums of each sequence, or its error, for the summary.
  v1::ScoredItem item_;
  std::vector<std::string> labels_;
  bool has_failure_ = false;
};

}  // namespace

std::vector<Flag> ScoreLogitsFlags() {
  return Joined(
      {LogitsFlags(),
       {PromptTokensFlag(),
        {"--targets", "", "IDS",
         "the tokens to score, as 5,7: row t predicts the t-th; once for each sequence; -100: not scored", true},
        {"--targets-file", "", "FILE", "the same from a file: numpy.save'd as int32 or int64, [T] or [B, T]"},
        {"--gradient", "", "FILE",
         "write the gradient of each scored row's loss, p - y, as FILE.npy, [rows, V] of f32"},
        {"--sums-only", "", "", "leave the tokens out of --json: one reply may hold a limited number of them"}}});
}

absl::StatusOr<int> ScoreLogits(const Arguments& arguments, const std::vector<Flag>& request_flags, Session& session) {
  session.needs_model = false;
  RETURN_IF_ERROR(CheckFlags(arguments, request_flags));
  ASSIGN_OR_RETURN(v1::ScoreLogitsConfig config, ConfigFrom(arguments, session.json));
  const bool list_tokens = config.record().layout() != v1::RECORD_LAYOUT_NONE;
  ASSIGN_OR_RETURN(client::LogitsRows rows, OpenLogits(arguments, session));
  ASSIGN_OR_RETURN(const Targets targets, arguments.Has("--targets")
                                              ? TargetsFromFlags(arguments, rows)
                                              : TargetsFromFile(arguments, rows, session.environment));
  ASSIGN_OR_RETURN(const auto prompt, arguments.Get<std::vector<int32_t>>("--prompt-tokens"));
  config.set_vocab_size(rows.vocab_size());
  std::optional<GradientFile> gradients;
  if (arguments.Has("--gradient")) {
    config.set_gradient(true);
    int64_t scored = 0;
    for (const auto& ids : targets)
      scored += std::count_if(ids.begin(), ids.end(), [](int32_t id) { return id != kNotScored; });
    gradients.emplace(arguments.Value("--gradient"), scored, rows.vocab_size());
  }
  SequencePrinter printer(targets, list_tokens, config.has_sampling(), session);
  const auto on_sequence = [&](v1::ScoreLogitsResponse response) {
    if (gradients) gradients->Add(response.gradient());
    response.clear_gradient();
    printer.Put(response);
    // Without an output nobody would see the rest.
    return static_cast<bool>(session.out());
  };
  const absl::Status status =
      client::ScoreRows(*session.client, config, rows, targets, prompt.value_or(std::vector<int32_t>()), on_sequence);
  if (!session.out()) return kExitOk;
  RETURN_IF_ERROR(status);
  printer.PrintTotals();
  if (gradients) {
    if (const std::string failure = gradients->Finish(); !failure.empty()) {
      session.environment.err << "logit score: " << failure << "\n";
      return printer.has_failure() ? kExitItemFailed : kExitNotWritten;
    }
  }
  return printer.has_failure() ? kExitItemFailed : kExitOk;
}

}  // namespace logitd::cli
