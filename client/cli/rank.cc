// `logit rank`: candidates in order, under every normalisation.
#include <algorithm>
#include <ostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/item_requests.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
#include "client/cli/progress.h"
#include "client/cli/record_table.h"
#include "client/cli/request_flags.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "client/cli/tokenization_notes.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;
// The longest of what stands before a winner's label: "winner by per character: ", and a comma after it.
constexpr int kWinnerColumns = 26;
constexpr int kLeastLabelColumns = 12;

const std::vector<std::string>& CandidateFlags() {
  static const auto* const flags = new std::vector<std::string>{"--candidate-tokens", "--continuation-tokens"};
  return *flags;
}

Arguments MakeArguments() {
  std::vector<Flag> request = PairFlags(CandidateFlags());
  request.push_back({"--model", "NAME", "default: the only one the server has"});
  request.push_back({"--order-by", "NORM", "sum, per-token, per-byte or per-character; default sum"});
  request.push_back({"--inverse-temperature", "B", "probability = softmax(B * value), in [0, 1000]; default 1"});
  for (Flag& flag : TokenizationFlags(/*pairs=*/true)) request.push_back(std::move(flag));
  return Arguments(
      {.name = "rank",
       .positionals = "CONTEXT CANDIDATE...",
       .summary =
           "Orders candidates under every normalisation; no space is inserted after the context. Without arguments, "
           "or with -, reads one RankItem a line, in protobuf's JSON, from standard input.",
       .examples =
           "logit rank \"The cat sat on the\" \" mat\" \" rug\" \" floor\"\n"
           "logit rank \"Q: What is the capital of Japan? A:\" \" Tokyo\" \" New York City\" --order-by per-byte\n"
           "logit rank --context-tokens 504,2644 --candidate-tokens 335 --candidate-tokens 281,7 --json\n"
           "echo '{\"candidates\": [' '{\"sums\": {\"sum_model_log_prob\": -2.5, \"token_count\": 2}},' "
           "'{\"sums\": {\"sum_model_log_prob\": -3, \"token_count\": 3}}]}' | logit rank\n"},
      {{"Request", request}, SessionFlags()});
}

// Everything of the request but its items.
absl::StatusOr<v1::RankRequest> RequestFrom(const Arguments& arguments) {
  v1::RankRequest request;
  if (arguments.Has("--model")) request.set_model(arguments.Value("--model"));
  if (arguments.Has("--order-by")) {
    const std::string& value = arguments.Value("--order-by");
    v1::Normalization by = v1::NORMALIZATION_UNSPECIFIED;
    if (value == "sum") by = v1::NORMALIZATION_SUM;
    if (value == "per-token") by = v1::NORMALIZATION_PER_TOKEN;
    if (value == "per-byte") by = v1::NORMALIZATION_PER_BYTE;
    if (value == "per-character") by = v1::NORMALIZATION_PER_CHARACTER;
    if (by == v1::NORMALIZATION_UNSPECIFIED) {
      return UsageError("--order-by", value, "sum, per-token, per-byte or per-character");
    }
    request.set_order_by(by);
  }
  for (const absl::Status& status : {
           SetIfGiven(arguments.Double("--inverse-temperature"),
                      [&](double beta) { request.set_inverse_temperature(beta); }),
           SetIfGiven(TokenizationFrom(arguments),
                      [&](v1::TokenizationOptions t) { *request.mutable_tokenization() = std::move(t); }),
       }) {
    if (!status.ok()) return status;
  }
  return request;
}

std::string ShowNormalization(v1::Normalization by) {
  const std::string name = v1::Normalization_Name(by);
  constexpr char kPrefix[] = "NORMALIZATION_";
  if (name.rfind(kPrefix, 0) != 0) return absl::StrCat(static_cast<int>(by));
  std::string out = absl::AsciiStrToLower(name.substr(sizeof(kPrefix) - 1));
  std::replace(out.begin(), out.end(), '_', ' ');
  return out;
}

std::string ShowError(const v1::Error& error) {
  // The server knows no flags.
  const char* flag = error.reason() == v1::ERROR_REASON_NORMALIZATION_UNDEFINED ? "--order-by: " : "";
  return absl::StrCat("error: ", flag, SanitizeForTerminal(error.message()), " (", client::ReasonName(error.reason()),
                      ")\n");
}

// Bars of the probabilities, best candidate first, with every value; then the winner under each normalisation.
std::string ItemView(const v1::RankedItem& item, const std::vector<std::string>& labels, const Style& style) {
  if (item.has_error()) return Filled(ShowError(item.error()), style.width);
  const auto label_of = [&labels](int index) {
    return index >= 0 && index < static_cast<int>(labels.size()) ? labels[index] : absl::StrCat(index);
  };
  // In a sentence.
  const auto name_of = [&](int index) {
    return ShortenOnTerminal(label_of(index), std::max(kLeastLabelColumns, style.width - kWinnerColumns), style);
  };
  std::vector<int> order;
  double largest = 0;
  for (int i = 0; i < item.candidates_size(); ++i) {
    order.push_back(i);
    largest = std::max(largest, item.candidates(i).candidate_probability());
  }
  // Those without a place come last.
  std::stable_sort(order.begin(), order.end(), [&item](int a, int b) {
    const auto key = [&item](int i) { return std::pair(item.candidates(i).has_error(), item.candidates(i).place()); };
    return key(a) < key(b);
  });
  Table table({{"place", Table::kRight, Table::kWhole, /*is_key=*/true},
               {"candidate", Table::kLeft, Table::kShorten, /*is_key=*/true},
               {"probability"},
               {"", Table::kLeft, Table::kDrop},
               {"sum"},
               {"per token"},
               {"per byte"},
               {"per character"},
               {"perplexity"}});
  std::string errors;
  std::vector<std::string> names;
  for (int i = 0; i < item.candidates_size(); ++i) names.push_back(name_of(i));
  for (const int i : order) {
    const v1::RankedCandidate& candidate = item.candidates(i);
    if (candidate.has_error()) absl::StrAppend(&errors, name_of(i), ": ", ShowError(candidate.error()));
    table.Add({{candidate.has_error() ? "-" : absl::StrCat(candidate.place()), std::nullopt},
               {label_of(i), std::nullopt},
               {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, candidate_probability)), std::nullopt},
               {candidate.has_candidate_probability() ? Bar(candidate.candidate_probability(), largest, kBarWidth) : "",
                LOGITD_CLI_OPTIONAL(candidate, per_token)},
               {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, sum)), std::nullopt},
               {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, per_token)), std::nullopt},
               {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, per_byte)), std::nullopt},
               {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, per_character)), std::nullopt},
               {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, perplexity)), std::nullopt}});
  }
  std::string notes = BoundaryNotes(item, names);
  for (const v1::RankOrdering& ordering : item.orderings()) {
    std::vector<std::string> winners;
    for (int i = 0; i < ordering.candidate_indices_size() && i < ordering.places_size(); ++i) {
      if (ordering.places(i) == 1) winners.push_back(name_of(ordering.candidate_indices(i)));
    }
    absl::StrAppend(&notes, "winner by ", ShowNormalization(ordering.by()), ": ", absl::StrJoin(winners, ", "),
                    ordering.tied() ? " (tied)" : "", "\n");
  }
  return table.Render(style) + Filled(notes + errors, style.width);
}

bool HasFailed(const v1::RankedItem& item) {
  return item.has_error() || std::any_of(item.candidates().begin(), item.candidates().end(),
                                         [](const v1::RankedCandidate& candidate) { return candidate.has_error(); });
}

std::vector<std::string> LabelsOf(const v1::RankItem& item) {
  std::vector<std::string> labels;
  for (const v1::Candidate& candidate : item.candidates()) {
    labels.push_back(candidate.has_continuation() ? LabelOf(candidate.continuation().input())
                                                  : absl::StrCat(labels.size()));
  }
  return labels;
}

int PrintResponse(const v1::RankResponse& response, const std::vector<std::vector<std::string>>& labels,
                  Session& session) {
  if (session.json) session.out() << ToJson(response) << "\n";
  bool has_failure = false;
  for (int i = 0; i < response.items_size(); ++i) {
    has_failure = has_failure || HasFailed(response.items(i));
    if (session.json) continue;
    if (response.items_size() > 1) session.out() << (i > 0 ? "\n" : "") << "item " << i << "\n";
    session.out() << ItemView(response.items(i), i < static_cast<int>(labels.size()) ? labels[i] : labels.back(),
                              session.style());
  }
  return has_failure ? kExitItemFailed : kExitOk;
}

// Takes over what `part` says of the whole request, and adds up what it cost.
void MergeHead(const v1::RankResponse& part, v1::RankResponse& whole) {
  *whole.mutable_provenance() = part.provenance();
  if (!part.has_usage()) return;
  v1::Usage& usage = *whole.mutable_usage();
  usage.set_prompt_token_count(usage.prompt_token_count() + part.usage().prompt_token_count());
  usage.set_generated_token_count(usage.generated_token_count() + part.usage().generated_token_count());
}

int RankItems(const v1::RankRequest& base, Session& session) {
  LineReader reader(session.environment.in);
  Progress progress("rank", session.environment);
  // One object for the whole input: every item has its place in it from the start.
  v1::RankResponse whole;
  std::vector<std::vector<std::string>> labels;
  while (true) {
    const std::vector<InputLine> lines = reader.NextChunk(kItemsPerRequest, kBytesPerRequest);
    if (lines.empty()) {
      if (whole.items().empty()) return session.Fail(NoItemsError("RankItem"));
      break;
    }
    std::vector<std::pair<int, v1::RankItem>> items;
    for (const InputLine& line : lines) {
      const int index = whole.items_size();
      v1::RankedItem* ranked = whole.add_items();
      v1::RankItem item;
      if (std::optional<v1::Error> error = FromLine(line, &item)) {
        *ranked->mutable_error() = *std::move(error);
        labels.emplace_back();
      } else {
        labels.push_back(LabelsOf(item));
        items.emplace_back(index, std::move(item));
      }
    }
    const auto send = [&](size_t begin, size_t end) {
      v1::RankRequest request = base;
      for (size_t at = begin; at < end; ++at) *request.add_items() = items[at].second;
      if (absl::Status size = CheckRequestSize(request); !size.ok()) return size;
      absl::StatusOr<v1::RankResponse> response = session.client->Rank(request);
      if (!response.ok()) return response.status();
      if (response->items_size() != static_cast<int>(end - begin)) {
        return absl::InternalError(
            absl::StrCat("the server answered ", response->items_size(), " of ", end - begin, " items"));
      }
      for (size_t at = begin; at < end; ++at) {
        *whole.mutable_items(items[at].first) = std::move(*response->mutable_items(static_cast<int>(at - begin)));
      }
      MergeHead(*response, whole);
      return absl::OkStatus();
    };
    const auto refuse = [&](size_t at, const v1::Error& error) {
      *whole.mutable_items(items[at].first)->mutable_error() = error;
    };
    const absl::Status status = SendItems(0, items.size(), send, refuse, session.environment);
    if (!status.ok()) {
      progress.Clear();
      return session.Fail(status);
    }
    progress.Update(whole.items_size(), reader.byte_count());
  }
  progress.Clear();
  return PrintResponse(whole, labels, session);
}

}  // namespace

int RunRank(const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments = MakeArguments();
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  absl::StatusOr<v1::RankRequest> request = RequestFrom(arguments);
  if (!request.ok()) return session->Fail(request.status());
  if (ReadsItems(arguments, CandidateFlags(), environment)) return RankItems(*request, *session);
  const absl::StatusOr<Pair> pair = PairFrom(arguments, CandidateFlags(), "CANDIDATE");
  if (!pair.ok()) return session->Fail(pair.status());
  v1::RankItem* item = request->add_items();
  *item->mutable_context() = pair->context;
  for (const v1::Input& input : pair->continuations) {
    *item->add_candidates()->mutable_continuation()->mutable_input() = input;
  }
  const absl::StatusOr<v1::RankResponse> response = session->client->Rank(*request);
  if (!response.ok()) return session->Fail(response.status());
  return PrintResponse(*response, {pair->labels}, *session);
}

}  // namespace logitd::cli
