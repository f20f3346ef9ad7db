#include "client/cli/score_logits.h"

#include <cstring>
#include <limits>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/json_lines.h"
#include "client/cli/logits_input.h"
#include "client/cli/npy_file.h"
#include "client/cli/record_table.h"
#include "client/cli/request_flags.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/score_view.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

// A label shows no more of the targets than a line has room for.
constexpr size_t kTargetsInLabel = 12;

// The targets of each sequence; row t predicts target t.
using Targets = std::vector<std::vector<int32_t>>;

absl::StatusOr<Targets> TargetsFromFlags(const Arguments& arguments, const LogitsInput& file) {
  Targets targets;
  for (const std::string& value : arguments.Values("--targets")) {
    absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds("--targets", value);
    if (!ids.ok()) return ids.status();
    targets.push_back(*std::move(ids));
  }
  if (static_cast<int64_t>(targets.size()) != file.sequence_count()) {
    return UsageError("--targets", absl::StrCat(targets.size()), absl::StrCat(file.sequence_count(), " lists"),
                      absl::StrCat("--targets must be given once for each of the ", file.sequence_count(),
                                   " sequences of --logits, got ", targets.size(), " of them"));
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    if (static_cast<int64_t>(targets[i].size()) == file.row_count()) continue;
    return UsageError("--targets", absl::StrCat(targets[i].size()), absl::StrCat(file.row_count(), " token ids"),
                      absl::StrCat("--targets must be one token id for each of the ", file.row_count(),
                                   " rows of sequence ", i, ", got ", targets[i].size()));
  }
  return targets;
}

absl::StatusOr<Targets> TargetsFromFile(const Arguments& arguments, const LogitsInput& file, Environment& environment) {
  const std::string& path = arguments.Value("--targets-file");
  if (path == "-" && arguments.Value("--logits") == "-") {
    return UsageError("--targets-file", "--logits and --targets-file cannot both be standard input");
  }
  absl::StatusOr<NpyFile> npy = NpyFile::Open({"--targets-file", path, NpyContent::kTokenIds}, environment.in);
  if (!npy.ok()) return npy.status();
  const std::vector<int64_t>& shape = npy->shape();
  const std::vector<int64_t> batch = {file.sequence_count(), file.row_count()};
  const std::vector<int64_t> single = {file.row_count()};
  if (shape != batch && !(file.sequence_count() == 1 && shape == single)) {
    const std::string bound = absl::StrCat("[", batch[0], ", ", batch[1], "]");
    return npy->Error(
        absl::StrCat("its shape must be that of the rows of --logits, ", bound, ", got ", npy->ShowShape()), bound);
  }
  Targets targets;
  std::string bytes;
  for (int32_t s = 0; s < file.sequence_count(); ++s) {
    if (absl::Status status = npy->Read(file.row_count(), bytes); !status.ok()) return status;
    std::vector<int32_t>& ids = targets.emplace_back();
    ids.reserve(static_cast<size_t>(file.row_count()));
    const auto size = static_cast<size_t>(npy->value_bytes());
    for (size_t at = 0; at < bytes.size(); at += size) {
      int64_t id = 0;
      if (npy->type() == NpyType::kI32) {
        int32_t narrow = 0;
        std::memcpy(&narrow, bytes.data() + at, sizeof(narrow));
        id = narrow;
      } else {
        std::memcpy(&id, bytes.data() + at, sizeof(id));
      }
      if (id < std::numeric_limits<int32_t>::min() || id > std::numeric_limits<int32_t>::max()) {
        return npy->Error(absl::StrCat("target ", at / size, " of sequence ", s, " must be a token id, got ", id));
      }
      ids.push_back(static_cast<int32_t>(id));
    }
  }
  return targets;
}

// What belongs to a model, and not to rows that are there already.
absl::Status CheckFlags(const Arguments& arguments) {
  if (!arguments.Has("--logits")) {
    for (const char* flag : {"--dtype", "--prompt-tokens", "--targets", "--targets-file", "--sums-only"}) {
      if (!arguments.Has(flag)) continue;
      return UsageError("--logits", absl::StrCat(flag, " goes with --logits FILE.npy, which is missing"));
    }
  }
  if (!arguments.positionals().empty()) {
    return UsageError("CONTEXT", "CONTEXT and CONTINUATION do not go with --logits: what is scored is --targets IDS");
  }
  for (const char* flag : {"--model", "--context-tokens", "--continuation-tokens", "--add-special-tokens",
                           "--parse-special-tokens", "--boundary"}) {
    if (!arguments.Has(flag)) continue;
    return UsageError(flag, absl::StrCat(flag, " does not go with --logits: no model is asked"));
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

absl::StatusOr<v1::ScoreLogitsConfig> ConfigFrom(const Arguments& arguments, bool needs_records) {
  v1::ScoreLogitsConfig config;
  for (const absl::Status& status : {
           SetIfGiven(SamplingFrom(arguments),
                      [&](v1::SamplingParams p) { *config.mutable_sampling() = std::move(p); }),
           SetIfGiven(RecordFrom(arguments), [&](v1::RecordOptions r) { *config.mutable_record() = std::move(r); }),
       }) {
    if (!status.ok()) return status;
  }
  if (absl::Status status = CheckKeptSet(config.record(), config.has_sampling()); !status.ok()) return status;
  if (config.has_record() && arguments.Has("--sums-only")) {
    return UsageError("--sums-only",
                      "--sums-only leaves out the tokens, and with them what --rank, --entropy, --top-n "
                      "and --kept-set ask for");
  }
  // What is asked for token by token is shown nowhere else.
  needs_records = needs_records || config.has_record();
  if (arguments.Has("--explain")) {
    config.mutable_record()->set_rank(true);
    config.mutable_record()->set_entropy(true);
  }
  // The table shows sums: what it does not show need not be sent, and then a file of any length can be scored.
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

  // `response`: of the sequence that follows the last one.
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

  // Sequences shown.
  int count() const { return item_.continuations_size(); }
  bool has_failure() const { return has_failure_; }

 private:
  const Targets& targets_;
  const bool list_tokens_;
  const bool has_sampling_;
  Session& session_;
  // What the summary shows of each: its sums, or its error.
  v1::ScoredItem item_;
  std::vector<std::string> labels_;
  bool has_failure_ = false;
};

}  // namespace

std::vector<Flag> ScoreLogitsFlags() {
  std::vector<Flag> flags = LogitsFlags();
  flags.insert(
      flags.end(),
      {PromptTokensFlag(),
       {"--targets", "IDS",
        "the tokens to score, as 5,7: row t predicts the t-th; once for each sequence; -100: not scored", true},
       {"--targets-file", "FILE", "the same from a file: numpy.save'd as int32 or int64, [T] or [B, T]"},
       {"--sums-only", "", "no tokens in --json: for more of them than one reply may hold"}});
  return flags;
}

bool HasScoreLogitsFlags(const Arguments& arguments) {
  for (const char* flag : {"--logits", "--dtype", "--prompt-tokens", "--targets", "--targets-file", "--sums-only"}) {
    if (arguments.Has(flag)) return true;
  }
  return false;
}

int ScoreLogits(const Arguments& arguments, Session& session) {
  session.needs_model = false;
  if (absl::Status status = CheckFlags(arguments); !status.ok()) return session.Fail(status);
  absl::StatusOr<v1::ScoreLogitsConfig> config =
      ConfigFrom(arguments, arguments.Has("--explain") || (session.json && !arguments.Has("--sums-only")));
  if (!config.ok()) return session.Fail(config.status());
  const bool list_tokens = config->record().layout() != v1::RECORD_LAYOUT_NONE;
  absl::StatusOr<LogitsInput> file = LogitsInput::Open(arguments, session.environment);
  if (!file.ok()) return session.Fail(file.status());
  const absl::StatusOr<Targets> targets = arguments.Has("--targets")
                                              ? TargetsFromFlags(arguments, *file)
                                              : TargetsFromFile(arguments, *file, session.environment);
  if (!targets.ok()) return session.Fail(targets.status());

  const absl::StatusOr<std::optional<std::vector<int32_t>>> prompt = arguments.TokenIds("--prompt-tokens");
  if (!prompt.ok()) return session.Fail(prompt.status());

  config->set_vocab_size(file->vocab_size());
  const auto next_rows = [&](v1::ScoreLogitsRows& rows, std::string& payload) -> absl::StatusOr<bool> {
    const int32_t sequence = file->next_sequence();
    if (sequence == file->sequence_count()) return false;
    const int32_t first = file->next_row();
    const absl::StatusOr<int32_t> count = file->ReadRows(*rows.add_blocks(), payload);
    if (!count.ok()) return count.status();
    rows.set_sequence_index(sequence);
    if (first == 0 && prompt->has_value()) {
      rows.mutable_prompt_token_ids()->Add((*prompt)->begin(), (*prompt)->end());
    }
    const auto begin = (*targets)[static_cast<size_t>(sequence)].begin() + first;
    rows.mutable_target_token_ids()->Add(begin, begin + *count);
    // Its answer comes at once, and the server need not keep it.
    rows.set_last(first + *count == file->row_count());
    return true;
  };
  SequencePrinter printer(*targets, list_tokens, config->has_sampling(), session);
  const auto on_sequence = [&](const v1::ScoreLogitsResponse& response) {
    // An answer that was not asked for; that one is missing is found below.
    if (response.sequence_index() == printer.count() && printer.count() < file->sequence_count()) printer.Put(response);
    // Else nobody would see the rest.
    return static_cast<bool>(session.out());
  };
  const absl::Status status = session.client->ScoreLogits(*config, next_rows, on_sequence);
  if (!session.out()) return kExitOk;
  if (!status.ok()) return session.Fail(status);
  if (printer.count() != file->sequence_count()) {
    return session.Fail(absl::InternalError(
        absl::StrCat("the server answered ", printer.count(), " of ", file->sequence_count(), " sequences")));
  }
  printer.PrintTotals();
  return printer.has_failure() ? kExitItemFailed : kExitOk;
}

}  // namespace logitd::cli
