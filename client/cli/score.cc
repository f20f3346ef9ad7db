// `logit score`: log-probs of given continuations.
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/item_stream.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
#include "client/cli/request_flags.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/score_logits.h"
#include "client/cli/score_view.h"
#include "client/cli/session.h"
#include "client/cli/terminal.h"

namespace logitd::cli {
namespace {

const std::vector<std::string>& ContinuationFlags() {
  static const auto* const flags = new std::vector<std::string>{"--continuation-tokens"};
  return *flags;
}

Arguments MakeArguments() {
  std::vector<Flag> request = PairFlags(ContinuationFlags());
  request.push_back({"--model", "NAME", "default: the only one the server has"});
  for (Flag& flag : TokenizationFlags(/*pairs=*/true)) request.push_back(std::move(flag));
  // Greedy has no log-probs to score under: 0 is refused.
  std::vector<Flag> sampling = StageFlags("in [1e-4, 1e6]; default 1");
  for (Flag& flag : TokenSetFlags()) sampling.push_back(std::move(flag));
  std::vector<Flag> output = {{"--explain", "",
                               "a table of tokens per continuation, who wins token by token and who in total; --rank, "
                               "--entropy, --top-n and --kept-set list the tokens too"}};
  for (Flag& flag : RecordFlags(/*draws=*/false)) output.push_back(std::move(flag));
  return Arguments(
      {.name = "score",
       .positionals = "CONTEXT CONTINUATION...",
       .summary =
           "Scores continuations of a context; no space is inserted between them. Without arguments, or with -, "
           "reads one ScoreItem a line, in protobuf's JSON, from standard input. With --logits, scores tokens under "
           "rows of logits from a file, without a model.",
       .examples = "logit score \"The capital of France is\" \" Paris\" \" Rome\"\n"
                   "logit score \"The cat sat on the\" \" mat\" \" rug\" --explain\n"
                   "logit score --context-tokens 504,2644 --continuation-tokens 335 --continuation-tokens 281,7\n"
                   "logit score \"The cat sat on the\" \" mat\" --temperature 0.7 --top-p 0.9 --json\n"
                   "logit score --logits rows.npy --targets 5,7 --explain\n"
                   "echo '{\"context\": {\"text\": \"1 + 1 =\"},' "
                   "\"continuations\": [{\"text\": \" 2\"}, {\"text\": \" 3\"}]}' | logit score --json\n"},
      WithPenaltyFlags({{"Request", request},
                        {"Logits of your own, instead of a model", ScoreLogitsFlags()},
                        {"Score under a processed distribution too", sampling},
                        {"Output", output}}));
}

// Everything of the request but its items.
absl::StatusOr<v1::ScoreRequest> RequestFrom(const Arguments& arguments) {
  v1::ScoreRequest request;
  if (arguments.Has("--model")) request.set_model(arguments.Value("--model"));
  for (const absl::Status& status : {
           SetIfGiven(SamplingFrom(arguments),
                      [&](v1::SamplingParams p) { *request.mutable_sampling() = std::move(p); }),
           SetIfGiven(RecordFrom(arguments), [&](v1::RecordOptions r) { *request.mutable_record() = std::move(r); }),
           SetIfGiven(TokenizationFrom(arguments),
                      [&](v1::TokenizationOptions t) { *request.mutable_tokenization() = std::move(t); }),
       }) {
    if (!status.ok()) return status;
  }
  if (absl::Status status = CheckKeptSet(request.record(), request.has_sampling()); !status.ok()) return status;
  if (arguments.Has("--explain")) {
    request.mutable_record()->set_rank(true);
    request.mutable_record()->set_entropy(true);
  }
  return request;
}

// What is shown of an item as text: its sums; its tokens too; and who wins.
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

int ScoreItems(const v1::ScoreRequest& base, Shown shown, Session& session) {
  const ItemCall<v1::ScoreItem, v1::ScoreRequest, v1::ScoreResponse> call = {
      .name = "score",
      .item_name = "ScoreItem",
      .send = [&session](const auto& request, const auto& on_item) { return session.client->Score(request, on_item); },
      .labels_of = LabelsOf,
      .print = [&](const auto& response, const auto& labels) { return Print(response, labels, shown, session); },
  };
  return SendInput(base, call, session);
}

int ScorePair(v1::ScoreRequest request, const Pair& pair, Shown shown, Session& session) {
  v1::ScoreItem* item = request.add_items();
  *item->mutable_context() = pair.context;
  item->mutable_continuations()->Add(pair.continuations.begin(), pair.continuations.end());
  std::optional<v1::ScoreResponse> response;
  const absl::Status status = session.client->Score(request, [&](v1::ScoreResponse answer) {
    response = std::move(answer);
    return true;
  });
  if (!status.ok()) return session.Fail(status);
  if (!response) return session.Fail(absl::InternalError("the server answered without a score"));
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

}  // namespace

int RunScore(const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments = MakeArguments();
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  if (HasScoreLogitsFlags(arguments)) return ScoreLogits(arguments, *session);
  absl::StatusOr<v1::ScoreRequest> request = RequestFrom(arguments);
  if (!request.ok()) return session->Fail(request.status());
  // What is asked for token by token is shown nowhere else.
  const Shown shown = arguments.Has("--explain") ? Shown::kComparison
                      : request->has_record()    ? Shown::kTokens
                                                 : Shown::kSums;
  if (ReadsItems(arguments, ContinuationFlags(), environment)) return ScoreItems(*request, shown, *session);
  const absl::StatusOr<Pair> pair = PairFrom(arguments, ContinuationFlags(), "CONTINUATION");
  if (!pair.ok()) return session->Fail(pair.status());
  return ScorePair(*std::move(request), *pair, shown, *session);
}

}  // namespace logitd::cli
