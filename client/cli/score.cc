// `logit score`: log-probs of given continuations.
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/file_run.h"
#include "client/cli/flags.h"
#include "client/cli/item_stream.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
#include "client/cli/request_fields.h"
#include "client/cli/score_logits.h"
#include "client/cli/score_view.h"
#include "client/cli/session.h"
#include "client/cli/terminal.h"

namespace logitd::cli {
namespace {

std::vector<Flag> TextFlags() { return PairFlags({"--continuation-tokens"}); }

// The flags that only a model can obey.
std::vector<Flag> RequestFlags() {
  return Joined({TextFlags(), {ModelFlag(), CalibrationFlag()}, TokenizationFlags(), PairFlags(), ReproducibleFlags()});
}

// The parts of an item that are shown as text: its sums; also its tokens; also the winner.
enum class Shown { kSums, kTokens, kComparison };

std::vector<std::string> LabelsOf(const v1::ScoreItem& item) {
  std::vector<std::string> labels;
  for (const v1::Continuation& continuation : item.continuations()) labels.push_back(LabelOf(continuation));
  return labels;
}

// Shows an answer to an item of standard input; false: it failed, or a part of it.
bool Print(const v1::ScoreResponse& response, const std::vector<std::string>& labels, Shown shown, Session& session) {
  std::ostream& out = session.out();
  if (session.json) {
    out << ToJson(response) << "\n";
  } else if (shown != Shown::kSums) {
    out << (response.item_index() > 0 ? "\n" : "") << ItemHeading(response.item_index(), response.id()) << "\n"
        << ScoreExplanation(response.item(), labels, session.style(), shown == Shown::kComparison);
  } else {
    out << ScoreLine(response) << "\n";
    // The line has room for the reason alone.
    session.environment.err << ScoreLineErrors(response) << std::flush;
  }
  return !HasFailed(response.item());
}

absl::StatusOr<int> ScoreItems(const v1::ScoreRequest& base, Shown shown, Session& session) {
  const ItemCall<v1::ScoreItem, v1::ScoreRequest, v1::ScoreResponse> call = {
      .name = "score",
      .send = [&session](const auto& request, const auto& on_item) { return session.client->Score(request, on_item); },
      .labels_of = LabelsOf,
      .print = [&](const auto& response, const auto& labels) { return Print(response, labels, shown, session); },
  };
  return SendInput(base, call, session);
}

absl::StatusOr<int> ScorePair(v1::ScoreRequest request, const Pair& pair, Shown shown, Session& session) {
  v1::ScoreItem* item = request.add_items();
  *item->mutable_context() = pair.context;
  item->mutable_continuations()->Add(pair.continuations.begin(), pair.continuations.end());
  std::optional<v1::ScoreResponse> response;
  RETURN_IF_ERROR(session.client->Score(request, [&](v1::ScoreResponse answer) {
    response = std::move(answer);
    return true;
  }));
  if (!response) return absl::InternalError("the server answered without a score");
  std::ostream& out = session.out();
  if (session.json) {
    out << ToJson(*response) << "\n";
  } else if (shown != Shown::kSums) {
    out << ScoreExplanation(response->item(), pair.labels, session.style(), shown == Shown::kComparison);
    if (session.colour) out << "\n" << LogProbLegend(session.style()) << "\n";
  } else {
    out << ScoreSummary(response->item(), pair.labels, session.style());
  }
  return HasFailed(response->item()) ? kExitItemFailed : kExitOk;
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  if (arguments.FirstOf(ScoreLogitsFlags()) != nullptr) {
    return ScoreLogits(arguments, Joined({RequestFlags(), FileFlags()}), session);
  }
  v1::ScoreRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  RETURN_IF_ERROR(CheckRecord(arguments, request.record(), request.has_sampling()));
  // A flag of the record asks to see the tokens, which only the list shows.
  Shown shown = request.has_record() ? Shown::kTokens : Shown::kSums;
  if (arguments.Has("--explain")) {
    shown = Shown::kComparison;
    request.mutable_record()->set_rank(true);
    request.mutable_record()->set_entropy(true);
  }
  ASSIGN_OR_RETURN(const bool asks_for_file, AsksForFile(arguments, TextFlags()));
  if (asks_for_file) {
    return AnswerMessages<v1::ScoreItem, v1::ScoreRequest, v1::ScoreResponse>(
        "score", request,
        [&session](const auto& request, const auto& on_item) { return session.client->Score(request, on_item); },
        arguments, session);
  }
  if (ReadsItems(arguments, TextFlags(), session.environment)) return ScoreItems(request, shown, session);
  ASSIGN_OR_RETURN(const Pair pair, PairFrom(arguments, TextFlags(), "CONTINUATION"));
  return ScorePair(std::move(request), pair, shown, session);
}

}  // namespace

Command ScoreCommand() {
  return {
      .name = "score",
      .purpose = "log-probs of given continuations, or of tokens under your own logits",
      .positionals = "CONTEXT CONTINUATION...",
      .summary =
          "Scores continuations of a context; no space is inserted between them. Without arguments, or with -, "
          "reads one ScoreItem a line, in protobuf's JSON, from standard input. With --out, reads them from the file "
          "IN.jsonl. With --logits, scores tokens under "
          "rows of logits from a file, without a model.",
      .examples =
          "logit score \"The capital of France is\" \" Paris\" \" Rome\"\n"
          "logit score \"The cat sat on the\" \" mat\" \" rug\" --explain\n"
          "logit score --context-tokens 504,2644 --continuation-tokens 335 --continuation-tokens 281,7\n"
          "logit score \"The cat sat on the\" \" mat\" --temperature 0.7 --top-p 0.9 --json\n"
          "logit score --logits rows.npy --targets 5,7 --explain\n"
          "logit score items.jsonl --out scores.jsonl --resume\n"
          "echo '{\"context\": {\"text\": \"1 + 1 =\"},' "
          "\"continuations\": [{\"text\": \" 2\"}, {\"text\": \" 3\"}]}' | logit score --json\n",
      .groups = WithPenaltyFlags(
          {{"Request", RequestFlags()},
           {"Logits of your own, instead of a model", ScoreLogitsFlags()},
           // Greedy has no log-probs to score under: the server refuses 0.
           {"Score under a processed distribution too",
            Joined({StageFlags("in [1e-4, 1e6]; default 1"), TokenSetFlags()})},
           {"A file of items", FileFlags()},
           {"Output", Joined({{{.name = "--explain",
                                .help = "a table of tokens for each continuation, the winner of each position and "
                                        "the winner in total; --rank, --entropy, --top-n and --kept-set list the "
                                        "tokens too"}},
                              RecordFlags()})}}),
      .request = v1::ScoreRequest::descriptor(),
      .run = Run};
}

}  // namespace logitd::cli
