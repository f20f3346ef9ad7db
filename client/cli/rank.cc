// `logit rank`: candidates in order, under every normalisation.
#include <algorithm>
#include <optional>
#include <ostream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/item_stream.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
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
    labels.push_back(candidate.has_text() || candidate.has_tokens() ? LabelOf(candidate) : absl::StrCat(labels.size()));
  }
  return labels;
}

int RankItems(const v1::RankRequest& base, Session& session) {
  const ItemCall<v1::RankItem, v1::RankRequest, v1::RankResponse> call = {
      .name = "rank",
      .item_name = "RankItem",
      .send = [&session](const auto& request, const auto& on_item) { return session.client->Rank(request, on_item); },
      .labels_of = LabelsOf,
      .print =
          [&session](const auto& response, const auto& labels) {
            if (session.json) {
              session.out() << ToJson(response) << "\n";
            } else {
              session.out() << (response.item_index() > 0 ? "\n" : "")
                            << ItemHeading(response.item_index(), response.id()) << "\n"
                            << ItemView(response.item(), labels, session.style());
            }
            return !HasFailed(response.item());
          },
  };
  return SendInput(base, call, session);
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
  for (const v1::Continuation& continuation : pair->continuations) {
    v1::Candidate* candidate = item->add_candidates();
    if (continuation.has_tokens()) {
      *candidate->mutable_tokens() = continuation.tokens();
    } else {
      candidate->set_text(continuation.text());
    }
  }
  std::optional<v1::RankResponse> response;
  const absl::Status status = session->client->Rank(*request, [&](v1::RankResponse answer) {
    response = std::move(answer);
    return true;
  });
  if (!status.ok()) return session->Fail(status);
  if (!response) return session->Fail(absl::InternalError("the server answered without a ranking"));
  session->out() << (session->json ? ToJson(*response) + "\n"
                                   : ItemView(response->item(), pair->labels, session->style()));
  return HasFailed(response->item()) ? kExitItemFailed : kExitOk;
}

}  // namespace logitd::cli
