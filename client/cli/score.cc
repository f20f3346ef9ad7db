// `logit score`: log-probs of given continuations.
#include <map>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/item_requests.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
#include "client/cli/progress.h"
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
       .examples =
           "logit score \"The capital of France is\" \" Paris\" \" Rome\"\n"
           "logit score \"The cat sat on the\" \" mat\" \" rug\" --explain\n"
           "logit score --context-tokens 504,2644 --continuation-tokens 335 --continuation-tokens 281,7\n"
           "logit score \"The cat sat on the\" \" mat\" --temperature 0.7 --top-p 0.9 --json\n"
           "logit score --logits rows.npy --targets 5,7 --explain\n"
           "echo '{\"context\": {\"text\": \"1 + 1 =\"},' "
           "'\"continuations\": {\"continuations\": [{\"input\": {\"text\": \" 2\"}}]}}' | logit score --json\n"},
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

// Prints answers in the order of their indices, whatever order they come in.
class OrderedPrinter {
 public:
  OrderedPrinter(Session& session, Shown shown) : session_(session), shown_(shown) {}

  // `labels`: as in ScoreSummary.
  void Put(v1::ScoreResponse response, std::vector<std::string> labels) {
    if (response.item_index() < next_) return;
    const int index = response.item_index();
    waiting_.try_emplace(index, std::move(response), std::move(labels));
    for (auto at = waiting_.find(next_); at != waiting_.end(); at = waiting_.find(next_)) {
      Print(at->second.first, at->second.second);
      waiting_.erase(at);
      ++next_;
    }
  }

  // Number of answers printed.
  int count() const { return next_; }
  bool has_failure() const { return has_failure_; }

 private:
  void Print(const v1::ScoreResponse& response, const std::vector<std::string>& labels) {
    has_failure_ = has_failure_ || HasFailed(response.item());
    std::ostream& out = session_.out();
    if (session_.json) {
      out << ToJson(response) << "\n";
    } else if (shown_ != Shown::kSums) {
      out << (next_ > 0 ? "\n" : "") << "item " << next_ << "\n"
          << ScoreExplanation(response.item(), labels, session_.style(), shown_ == Shown::kComparison);
    } else {
      out << ScoreLine(response) << "\n";
      // The line has room for the reason alone.
      session_.environment.err << ScoreLineErrors(response) << std::flush;
    }
    out << std::flush;
  }

  Session& session_;
  const Shown shown_;
  int next_ = 0;
  bool has_failure_ = false;
  std::map<int, std::pair<v1::ScoreResponse, std::vector<std::string>>> waiting_;
};

std::vector<std::string> LabelsOf(const v1::ScoreItem& item) {
  std::vector<std::string> labels;
  for (const v1::Continuation& continuation : item.continuations().continuations()) {
    labels.push_back(LabelOf(continuation.input()));
  }
  return labels;
}

v1::ScoreResponse Failed(int index, const v1::Error& error) {
  v1::ScoreResponse response;
  response.set_item_index(index);
  *response.mutable_item()->mutable_error() = error;
  return response;
}

int ScoreItems(const v1::ScoreRequest& base, Shown shown, Session& session) {
  LineReader reader(session.environment.in);
  OrderedPrinter printer(session, shown);
  Progress progress("score", session.environment);
  int first_index = 0;
  while (true) {
    const std::vector<InputLine> lines = reader.NextChunk(kItemsPerRequest, kBytesPerRequest);
    if (lines.empty()) {
      if (first_index == 0) return session.Fail(NoItemsError("ScoreItem"));
      break;
    }
    // The items that can be sent, with their indices in the whole input.
    std::vector<std::pair<int, v1::ScoreItem>> items;
    for (size_t i = 0; i < lines.size(); ++i) {
      const int index = first_index + static_cast<int>(i);
      v1::ScoreItem item;
      if (const std::optional<v1::Error> error = FromLine(lines[i], &item)) {
        progress.Clear();
        printer.Put(Failed(index, *error), {});
      } else {
        items.emplace_back(index, std::move(item));
      }
    }
    const auto put = [&](size_t at, v1::ScoreResponse response) {
      response.set_item_index(items[at].first);
      progress.Clear();
      printer.Put(std::move(response), LabelsOf(items[at].second));
      progress.Update(printer.count(), reader.byte_count());
    };
    const auto send = [&](size_t begin, size_t end) {
      v1::ScoreRequest request = base;
      for (size_t at = begin; at < end; ++at) *request.add_items() = items[at].second;
      if (absl::Status size = CheckRequestSize(request); !size.ok()) return size;
      size_t answered = 0;
      absl::Status status = session.client->Score(request, [&](v1::ScoreResponse response) {
        const int64_t at = response.item_index();
        if (at < 0 || at >= static_cast<int64_t>(end - begin)) return true;
        ++answered;
        put(begin + static_cast<size_t>(at), std::move(response));
        return true;
      });
      if (status.ok() && answered < end - begin) {
        return absl::InternalError(absl::StrCat("the server answered ", answered, " of ", end - begin, " items"));
      }
      return status;
    };
    const auto refuse = [&](size_t at, const v1::Error& error) { put(at, Failed(0, error)); };
    const absl::Status status = SendItems(0, items.size(), send, refuse, session.environment);
    if (!status.ok()) {
      progress.Clear();
      return session.Fail(status);
    }
    first_index += static_cast<int>(lines.size());
    // Nobody would see the rest.
    if (!session.out()) break;
  }
  return printer.has_failure() ? kExitItemFailed : kExitOk;
}

int ScorePair(v1::ScoreRequest request, const Pair& pair, Shown shown, Session& session) {
  v1::ScoreItem* item = request.add_items();
  *item->mutable_context() = pair.context;
  for (const v1::Input& input : pair.continuations) {
    *item->mutable_continuations()->add_continuations()->mutable_input() = input;
  }
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
