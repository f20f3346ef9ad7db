// `logit decide`: one of several options, with probabilities.
#include <algorithm>
#include <optional>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
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
#include "client/cli/tokenization_notes.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;

std::vector<Flag> TextFlags() { return PairFlags({"--option-tokens"}); }

std::string ErrorLine(const v1::Error& error) {
  return absl::StrCat("error: ", SanitizeForTerminal(error.message()), " (", client::ReasonName(error.reason()), ")\n");
}

bool HasFailed(const v1::DecidedItem& item) {
  return item.has_error() || std::any_of(item.options().begin(), item.options().end(),
                                         [](const v1::DecidedOption& option) { return option.has_error(); });
}

std::vector<std::string> LabelsOf(const v1::DecideItem& item) {
  std::vector<std::string> labels;
  if (item.has_predicate()) labels = {LabelOf(item.predicate().if_true()), LabelOf(item.predicate().if_false())};
  for (const v1::DecisionOption& option : item.choice().options()) labels.push_back(LabelOf(option));
  for (const v1::DecisionLevel& level : item.score().levels()) labels.push_back(LabelOf(level.option()));
  return labels;
}

// A table of the options, then the decision.
std::string ItemView(const v1::DecidedItem& item, const std::vector<std::string>& labels, const Style& style) {
  if (item.has_error()) return Filled(ErrorLine(item.error()), style.width);
  const auto label_of = [&labels](int index) {
    return index < static_cast<int>(labels.size()) ? labels[static_cast<size_t>(index)] : absl::StrCat(index);
  };
  double largest = 0;
  for (const v1::DecidedOption& option : item.options()) largest = std::max(largest, option.probability());
  const bool is_calibrated = std::any_of(item.options().begin(), item.options().end(),
                                         [](const auto& option) { return option.has_calibrated_probability(); });
  std::vector<Table::Column> columns = {{"option", Table::kLeft, Table::kShorten, /*is_key=*/true},
                                        {"probability"},
                                        {"", Table::kLeft, Table::kDrop},
                                        {"log-prob"}};
  if (is_calibrated) columns.push_back({"calibrated"});
  Table table(std::move(columns));
  std::string notes = BoundaryNotes(item, labels);
  for (int i = 0; i < item.options_size(); ++i) {
    const v1::DecidedOption& option = item.options(i);
    std::vector<Table::Cell> cells = {{label_of(i)},
                                      {ShowNumber(LOGITD_CLI_OPTIONAL(option, probability))},
                                      {option.has_probability() ? Bar(option.probability(), largest, kBarWidth) : ""},
                                      {ShowNumber(LOGITD_CLI_OPTIONAL(option, log_prob))}};
    if (is_calibrated) cells.push_back({ShowNumber(LOGITD_CLI_OPTIONAL(option, calibrated_probability))});
    table.Add(std::move(cells));
    if (option.has_error()) absl::StrAppend(&notes, label_of(i), ": ", ErrorLine(option.error()));
  }
  if (item.has_chosen_index()) {
    absl::StrAppend(&notes, "chosen: ", label_of(item.chosen_index()), item.tied() ? " (tied)" : "", "\n");
  }
  if (item.has_expected_value()) absl::StrAppend(&notes, "expected value: ", ShowNumber(item.expected_value()), "\n");
  if (item.label_mass().has_mass()) {
    absl::StrAppend(&notes, "label mass: ", ShowNumber(item.label_mass().mass()), "\n");
  }
  return table.Render(style) + Filled(notes, style.width);
}

absl::StatusOr<int> DecideItems(const v1::DecideRequest& base, Session& session) {
  const ItemCall<v1::DecideItem, v1::DecideRequest, v1::DecideResponse> call = {
      .name = "decide",
      .send = [&session](const auto& request, const auto& on_item) { return session.client->Decide(request, on_item); },
      .labels_of = LabelsOf,
      .print =
          [&session](const v1::DecideResponse& response, const auto& labels) {
            std::ostream& out = session.out();
            if (session.json) {
              out << ToJson(response) << "\n";
              return !HasFailed(response.item());
            }
            out << (response.item_index() > 0 ? "\n" : "") << ItemHeading(response.item_index(), response.id()) << "\n"
                << ItemView(response.item(), labels, session.style());
            return !HasFailed(response.item());
          },
  };
  return SendInput(base, call, session);
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  v1::DecideRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  ASSIGN_OR_RETURN(const bool asks_for_file, AsksForFile(arguments, TextFlags()));
  if (asks_for_file) {
    return AnswerMessages<v1::DecideItem, v1::DecideRequest, v1::DecideResponse>(
        "decide", request,
        [&session](const auto& message, const auto& on_item) { return session.client->Decide(message, on_item); },
        arguments, session);
  }
  if (ReadsItems(arguments, TextFlags(), session.environment)) return DecideItems(request, session);
  ASSIGN_OR_RETURN(const Pair pair, PairFrom(arguments, TextFlags(), "OPTION"));
  v1::DecideItem& item = *request.add_items();
  *item.mutable_context() = pair.context;
  for (const v1::Continuation& continuation : pair.continuations) {
    v1::DecisionOption& option = *item.mutable_choice()->add_options();
    if (continuation.has_tokens()) {
      *option.mutable_tokens() = continuation.tokens();
    } else {
      option.set_text(continuation.text());
    }
  }
  std::optional<v1::DecideResponse> response;
  const auto take = [&response](v1::DecideResponse answer) { return response = std::move(answer), true; };
  RETURN_IF_ERROR(session.client->Decide(request, take));
  if (!response) return absl::InternalError("the server answered without a decision");
  session.out() << (session.json ? ToJson(*response) + "\n" : ItemView(response->item(), pair.labels, session.style()));
  return HasFailed(response->item()) ? kExitItemFailed : kExitOk;
}

}  // namespace

Command DecideCommand() {
  return {
      .name = "decide",
      .purpose = "choose one of several options, with probabilities",
      .positionals = "CONTEXT OPTION...",
      .summary =
          "Chooses one of several options that may follow a context; no space is inserted between them. Prints their "
          "probabilities and the label mass, the probability of all options together. Without arguments, or with -, "
          "reads one DecideItem a line, in protobuf's JSON, from standard input. With --out, reads them from the "
          "file IN.jsonl.",
      .examples =
          "logit decide \"Is snow white? Answer:\" \" yes\" \" no\"\n"
          "logit decide \"Is snow white? Answer:\" \" yes\" \" no\" --temperature 0.5 --json\n"
          "logit decide items.jsonl --out decisions.jsonl --resume\n",
      .groups = {{"Request", Joined({TextFlags(),
                                     {ModelFlag(),
                                      {"--temperature", "temperature", "T",
                                       "probability = softmax(log-prob / T); 0: all for the best; else in [1e-4, 1e6]; "
                                       "default 1"},
                                      CalibrationFlag()},
                                     TokenizationFlags(),
                                     PairFlags(),
                                     ReproducibleFlags()})},
                 {"A file of items", FileFlags()}},
      .request = v1::DecideRequest::descriptor(),
      .run = Run};
}

}  // namespace logitd::cli
