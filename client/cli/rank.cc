// `logit rank`: candidates in order, under every normalisation.
#include <algorithm>
#include <cmath>
#include <optional>
#include <ostream>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/file_run.h"
#include "client/cli/filled_text.h"
#include "client/cli/flags.h"
#include "client/cli/item_stream.h"
#include "client/cli/json_lines.h"
#include "client/cli/pair_flags.h"
#include "client/cli/record_table.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "client/cli/tokenization_notes.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;
// The longest text around a winner's label: "winner by per character: " and a comma.
constexpr int kWinnerColumns = 26;
constexpr int kLeastLabelColumns = 12;

std::vector<Flag> TextFlags() { return PairFlags({"--candidate-tokens", "--continuation-tokens"}); }

std::string ShowError(const v1::Error& error) {
  // The server knows no flags.
  const char* flag = error.reason() == v1::ERROR_REASON_NORMALIZATION_UNDEFINED ? "--order-by: " : "";
  return absl::StrCat("error: ", flag, SanitizeForTerminal(error.message()), " (", client::ReasonName(error.reason()),
                      ")\n");
}

// A column that is there if some candidate has the value.
struct AskedValue {
  const char* heading;
  std::optional<double> (*of)(const v1::RankedCandidate&);
};
constexpr AskedValue kAskedValues[] = {
    {"gnmt", [](const v1::RankedCandidate& candidate) { return LOGITD_CLI_OPTIONAL(candidate, gnmt); }},
    {"pmi", [](const v1::RankedCandidate& candidate) { return LOGITD_CLI_OPTIONAL(candidate, pmi); }},
    {"calibrated",
     [](const v1::RankedCandidate& candidate) { return LOGITD_CLI_OPTIONAL(candidate, calibrated_probability); }},
    {"combined",
     [](const v1::RankedCandidate& candidate) { return LOGITD_CLI_OPTIONAL(candidate, combined_log_prob); }},
};

// The probability of all candidates together, and the candidates that were given up.
std::string SetNotes(const v1::RankedItem& item) {
  std::string notes;
  if (item.closed_set().has_mass()) {
    const bool has_prefixes = item.closed_set().kind() == v1::CLOSED_SET_KIND_PREFIXES;
    absl::StrAppend(&notes, "probability of all candidates together: ", ShowNumber(item.closed_set().mass()),
                    has_prefixes ? " (some begin with another one, which counts for both)" : "", "\n");
  }
  const auto pruned = std::count_if(item.candidates().begin(), item.candidates().end(),
                                    [](const v1::RankedCandidate& candidate) { return candidate.pruned(); });
  if (pruned > 0) absl::StrAppend(&notes, pruned, " of ", item.candidates_size(), " candidates were given up early\n");
  return notes;
}

// The probability of an order: "0.450000 (ln -0.798508)".
std::string ShowProbability(bool is_possible, double log_prob) {
  if (!is_possible) return "0";
  return absl::StrCat(ShowNumber(std::exp(log_prob)), " (ln ", ShowNumber(log_prob), ")");
}

std::string OrderNote(const char* name, const v1::OrderProbability& order, const std::vector<std::string>& names) {
  constexpr int kMostNamed = 8;
  std::vector<std::string> named;
  for (const int index : order.candidate_indices()) {
    if (static_cast<int>(named.size()) == kMostNamed) break;
    named.push_back(index >= 0 && index < static_cast<int>(names.size()) ? names[static_cast<size_t>(index)]
                                                                         : absl::StrCat(index));
  }
  const int left = order.candidate_indices_size() - static_cast<int>(named.size());
  if (left > 0) named.push_back(absl::StrCat(left, " more"));
  std::string note = absl::StrCat("probability of the ", name, " order (", absl::StrJoin(named, ", "),
                                  "): ", ShowProbability(order.has_log_prob(), order.log_prob()));
  if (order.top_count() > 0) {
    absl::StrAppend(&note,
                    order.top_count() == 1 ? "; of its first place: "
                                           : absl::StrCat("; of its first ", order.top_count(), " places: "),
                    ShowProbability(order.has_top_log_prob(), order.top_log_prob()));
  }
  return note + "\n";
}

// Bars of the probabilities, best candidate first, with every value; then the winner under each normalisation.
std::string ItemView(const v1::RankedItem& item, const std::vector<std::string>& labels, const Style& style) {
  if (item.has_error()) return Filled(ShowError(item.error()), style.width);
  const auto label_of = [&labels](int index) {
    return index >= 0 && index < static_cast<int>(labels.size()) ? labels[index] : absl::StrCat(index);
  };
  // The label as it stands in a sentence.
  const auto name_of = [&](int index) {
    return ShortenOnTerminal(label_of(index), std::max(kLeastLabelColumns, style.width - kWinnerColumns), style);
  };
  std::vector<int> order;
  double largest = 0;
  for (int i = 0; i < item.candidates_size(); ++i) {
    order.push_back(i);
    largest = std::max(largest, item.candidates(i).candidate_probability());
  }
  // Candidates without a place come last, and those with an error behind them.
  std::stable_sort(order.begin(), order.end(), [&item](int a, int b) {
    const auto key = [&item](int i) {
      const v1::RankedCandidate& candidate = item.candidates(i);
      return std::tuple(candidate.has_error(), candidate.place() == 0, candidate.place());
    };
    return key(a) < key(b);
  });
  std::vector<Table::Column> columns = {{"place", Table::kRight, Table::kWhole, /*is_key=*/true},
                                        {"candidate", Table::kLeft, Table::kShorten, /*is_key=*/true},
                                        {"probability"},
                                        {"", Table::kLeft, Table::kDrop},
                                        {"sum"},
                                        {"per token"},
                                        {"per byte"},
                                        {"per character"},
                                        {"perplexity"}};
  std::vector<const AskedValue*> asked;
  for (const AskedValue& value : kAskedValues) {
    const bool is_there = std::any_of(item.candidates().begin(), item.candidates().end(),
                                      [&](const auto& candidate) { return value.of(candidate).has_value(); });
    if (!is_there) continue;
    asked.push_back(&value);
    columns.push_back({value.heading});
  }
  Table table(std::move(columns));
  std::string errors;
  std::vector<std::string> names;
  for (int i = 0; i < item.candidates_size(); ++i) names.push_back(name_of(i));
  for (const int i : order) {
    const v1::RankedCandidate& candidate = item.candidates(i);
    if (candidate.has_error()) absl::StrAppend(&errors, name_of(i), ": ", ShowError(candidate.error()));
    std::vector<Table::Cell> cells = {
        {candidate.place() == 0 ? "-" : absl::StrCat(candidate.place())},
        {label_of(i)},
        {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, candidate_probability))},
        {candidate.has_candidate_probability() ? Bar(candidate.candidate_probability(), largest, kBarWidth) : "",
         LOGITD_CLI_OPTIONAL(candidate, per_token)},
        {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, sum))},
        {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, per_token))},
        {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, per_byte))},
        {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, per_character))},
        {ShowNumber(LOGITD_CLI_OPTIONAL(candidate, perplexity))}};
    for (const AskedValue* value : asked) cells.push_back({ShowNumber(value->of(candidate))});
    table.Add(std::move(cells));
  }
  std::string notes = BoundaryNotes(item, names);
  for (const v1::RankOrdering& ordering : item.orderings()) {
    std::vector<std::string> winners;
    for (int i = 0; i < ordering.candidate_indices_size() && i < ordering.places_size(); ++i) {
      if (ordering.places(i) == 1) winners.push_back(name_of(ordering.candidate_indices(i)));
    }
    absl::StrAppend(&notes, "winner by ",
                    absl::StrReplaceAll(ShowEnum(*v1::Normalization_descriptor(), ordering.by()), {{"_", " "}}), ": ",
                    absl::StrJoin(winners, ", "), ordering.tied() ? " (tied)" : "", "\n");
  }
  if (item.has_returned_order()) notes += OrderNote("returned", item.returned_order(), names);
  if (item.has_given_order()) notes += OrderNote("given", item.given_order(), names);
  return table.Render(style) + Filled(notes + SetNotes(item) + errors, style.width);
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

absl::StatusOr<int> RankItems(const v1::RankRequest& base, Session& session) {
  const ItemCall<v1::RankItem, v1::RankRequest, v1::RankResponse> call = {
      .name = "rank",
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

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  v1::RankRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  if (arguments.Has("--order")) request.mutable_order();
  ASSIGN_OR_RETURN(const auto given_order, arguments.Get<std::vector<int32_t>>("--given-order"));
  if (given_order && given_order->empty()) {
    return UsageError("--given-order", "--given-order must name each candidate once, as 1,0,2, got nothing");
  }
  const auto check_given_order = [&]() -> absl::Status {
    if (!given_order) return absl::OkStatus();
    return UsageError("--given-order",
                      "--given-order is of candidates on the command line: write given_order into each item");
  };
  ASSIGN_OR_RETURN(const bool asks_for_file, AsksForFile(arguments, TextFlags()));
  if (asks_for_file) {
    RETURN_IF_ERROR(check_given_order());
    return AnswerMessages<v1::RankItem, v1::RankRequest, v1::RankResponse>(
        "rank", request,
        [&session](const auto& request, const auto& on_item) { return session.client->Rank(request, on_item); },
        arguments, session);
  }
  if (ReadsItems(arguments, TextFlags(), session.environment)) {
    RETURN_IF_ERROR(check_given_order());
    return RankItems(request, session);
  }
  ASSIGN_OR_RETURN(const Pair pair, PairFrom(arguments, TextFlags(), "CANDIDATE"));
  v1::RankItem* item = request.add_items();
  *item->mutable_context() = pair.context;
  for (const v1::Continuation& continuation : pair.continuations) {
    v1::Candidate* candidate = item->add_candidates();
    if (continuation.has_tokens()) {
      *candidate->mutable_tokens() = continuation.tokens();
    } else {
      candidate->set_text(continuation.text());
    }
  }
  if (given_order) item->mutable_given_order()->Add(given_order->begin(), given_order->end());
  std::optional<v1::RankResponse> response;
  RETURN_IF_ERROR(session.client->Rank(request, [&](v1::RankResponse answer) {
    response = std::move(answer);
    return true;
  }));
  if (!response) return absl::InternalError("the server answered without a ranking");
  session.out() << (session.json ? ToJson(*response) + "\n" : ItemView(response->item(), pair.labels, session.style()));
  return HasFailed(response->item()) ? kExitItemFailed : kExitOk;
}

}  // namespace

Command RankCommand() {
  return {
      .name = "rank",
      .purpose = "order candidates under every normalisation",
      .positionals = "CONTEXT CANDIDATE...",
      .summary =
          "Orders candidates under every normalisation; no space is inserted after the context. Without arguments, "
          "or with -, reads one RankItem a line, in protobuf's JSON, from standard input. With --out, reads them from "
          "the file IN.jsonl.",
      .examples =
          "logit rank \"The cat sat on the\" \" mat\" \" rug\" \" floor\"\n"
          "logit rank \"Q: What is the capital of Japan? A:\" \" Tokyo\" \" New York City\" --order-by per-byte\n"
          "logit rank --context-tokens 504,2644 --candidate-tokens 335 --candidate-tokens 281,7 --json\n"
          "logit rank \"The cat sat on the\" \" mat\" \" rug\" \" floor\" --given-order 1,0,2 --top-k 1\n"
          "logit rank items.jsonl --out ranks.jsonl --resume\n"
          "echo '{\"candidates\": [' '{\"sums\": {\"sum_model_log_prob\": -2.5, \"token_count\": 2}},' "
          "'{\"sums\": {\"sum_model_log_prob\": -3, \"token_count\": 3}}]}' | logit rank\n",
      .groups = {{"Request",
                  Joined({TextFlags(),
                          {ModelFlag(),
                           {"--order-by", "order_by", "NORM",
                            "sum, per-token, per-byte, per-character, gnmt, pmi or combined; default sum"},
                           {"--gnmt-alpha", "gnmt_alpha", "A", "also sum / ((5 + tokens) / 6)^A; in [0, 10]"},
                           {"--unconditional-context", "unconditional_context.text", "TEXT",
                            "also pmi: the sum after CONTEXT minus the sum after TEXT"},
                           {"--winner-only", "winner_only", "",
                            "give up candidates that cannot win, and show the winner alone"},
                           {"--inverse-temperature", "inverse_temperature", "B",
                            "probability = softmax(B * value), in [0, 1000]; default 1"},
                           {"--order", "", "", "also the probability of the returned order (Plackett-Luce)"},
                           {"--given-order", "", "I,J,...",
                            "also the probability of this order of the candidates, best first; the first is 0"},
                           {"--top-k", "order.top_k", "K", "also the probability of the first K places of the orders"},
                           CalibrationFlag()},
                          TokenizationFlags(),
                          PairFlags(),
                          ReproducibleFlags()})},
                 {"A file of items", FileFlags()}},
      .request = v1::RankRequest::descriptor(),
      .run = Run};
}

}  // namespace logitd::cli
