// `logit strengths`: the strengths of items that given rankings determine. Needs no model.
#include <algorithm>
#include <cmath>
#include <optional>
#include <ostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/ranking_lines.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/text_input.h"
#include "client/cli/token_text.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

constexpr int kBarWidth = 20;

absl::Status ReadInput(const Arguments& arguments, Session& session, ItemNames& names,
                       v1::FitStrengthsRequest& request) {
  const std::vector<std::string>& files = arguments.positionals();
  if (files.size() > 1) return UsageError("FILE", files[1], "one file", "strengths takes one FILE");
  if (files.empty() && session.environment.in_is_terminal) {
    return UsageError("FILE", "FILE is missing: give a file of rankings, or - for standard input");
  }
  const bool is_stdin = files.empty() || files[0] == "-";
  std::string text;
  if (is_stdin) {
    ASSIGN_OR_RETURN(text, TextOfInput("FILE", session.environment));
  } else {
    ASSIGN_OR_RETURN(text, TextOfFile("FILE", files[0]));
  }
  const std::string source = is_stdin ? "standard input" : files[0];
  RETURN_IF_ERROR(ReadRankings(text, source, names, request));
  if (request.rankings().empty()) {
    return UsageError("FILE", absl::StrCat(source, " has no ranking: each line must hold one, as [\"a\", \"b\"]"));
  }
  return absl::OkStatus();
}

// The items, strongest first, with their chances of being first among all; then how well they explain the rankings.
std::string FitView(const v1::FitStrengthsResponse& fit, const std::vector<std::string>& names, int ranking_count,
                    const Style& style) {
  const auto count = static_cast<int>(std::min(
      {names.size(), static_cast<size_t>(fit.log_strengths_size()), static_cast<size_t>(fit.standard_errors_size())}));
  std::vector<int> order;
  double most = 0, total = 0;
  for (int i = 0; i < count; ++i) {
    order.push_back(i);
    most = i == 0 ? fit.log_strengths(i) : std::max(most, fit.log_strengths(i));
  }
  for (int i = 0; i < count; ++i) total += std::exp(fit.log_strengths(i) - most);
  std::stable_sort(order.begin(), order.end(),
                   [&fit](int a, int b) { return fit.log_strengths(a) > fit.log_strengths(b); });
  Table table({{"item", Table::kLeft, Table::kShorten, /*is_key=*/true},
               {"log-strength"},
               {"std. error"},
               {"first"},
               {"", Table::kLeft, Table::kDrop}});
  for (const int i : order) {
    const double first = std::exp(fit.log_strengths(i) - most) / total;
    table.Add({{EscapeText(names[static_cast<size_t>(i)])},
               {ShowNumber(fit.log_strengths(i))},
               {ShowNumber(fit.standard_errors(i))},
               {ShowNumber(first)},
               {Bar(first, 1 / total, kBarWidth)}});
  }
  return table.Render(style) +
         Filled(absl::StrCat("log-likelihood of ", ranking_count,
                             ranking_count == 1 ? " ranking: " : " rankings: ", ShowNumber(fit.log_likelihood()),
                             "; with equal strengths: ", ShowNumber(fit.equal_log_likelihood()), "\n"),
                style.width);
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  v1::FitStrengthsRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  ItemNames names;
  for (const std::string& name : arguments.Values("--item")) {
    if (names.Has(name)) return UsageError("--item", name, "another item than those before it");
    names.IndexOf(name);
  }
  RETURN_IF_ERROR(ReadInput(arguments, session, names, request));
  request.set_item_count(static_cast<int32_t>(names.names().size()));
  const absl::StatusOr<v1::FitStrengthsResponse> fit = session.client->FitStrengths(request);
  if (!fit.ok()) {
    std::optional<v1::Error> error = client::ErrorOf(fit.status()).error;
    if (!error) return fit.status();
    NameItems(names.names(), *error);
    return client::FromError(*error);
  }
  if (session.json) {
    // The items' names, then the reply's fields.
    session.out() << "{\"items\":" << ToJsonArray(names.names()) << "," << ToJson(*fit).substr(1) << "\n";
  } else {
    session.out() << FitView(*fit, names.names(), request.rankings_size(), session.style());
  }
  return kExitOk;
}

}  // namespace

Command StrengthsCommand() {
  return {
      .name = "strengths",
      .purpose = "strengths of items from rankings of them, without a model",
      .positionals = "FILE",
      .summary =
          "Fits the strengths of items to rankings of them, by the model of Plackett and Luce: each place goes to one "
          "of the items that are left, with the probability of a softmax over their log-strengths. Shows each item's "
          "log-strength with its standard error, and its probability of being first. Log-strengths sum to 0. FILE, or "
          "standard input, has a ranking on each line, in JSON: a list of items, best first, in which a list of items "
          "are tied; or an object with order, others_below (every other item came after these) and count (how often "
          "it was seen). Needs no model.",
      .examples =
          "logit strengths rankings.jsonl\n"
          "printf '[\"mat\",\"rug\",\"floor\"]\\n[\"floor\",\"rug\",\"mat\"]\\n' | logit strengths\n"
          "printf '[\"mat\",[\"rug\",\"floor\"]]\\n[\"floor\",\"mat\"]\\n' | logit strengths --ties by-index --json\n"
          "printf '{\"order\":[\"a\"],\"others_below\":true}\\n[\"b\",\"a\"]\\n' | logit strengths\n",
      .groups = {{"Request",
                  {{"--ties", "ties", "RULE",
                    "tied items: refuse, or by-index (the one that occurs first comes first); default refuse"},
                   {"--item", "", "NAME", "an item, also if no ranking lists it; given ones come first, in their order",
                    /*repeatable=*/true}}}},
      .request = v1::FitStrengthsRequest::descriptor(),
      .needs_model = false,
      .run = Run};
}

}  // namespace logitd::cli
