#include "client/cli/score_view.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/filled_text.h"
#include "client/cli/record_table.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "client/cli/tokenization_notes.h"
#include "client/logitd/client_error.h"

namespace logitd::cli {
namespace {

// The indent of a sentence's further lines.
constexpr int kIndent = 2;

using Continuations = google::protobuf::RepeatedPtrField<v1::ScoredContinuation>;

std::optional<double> SumOf(const v1::ScoredContinuation& continuation) {
  return continuation.has_error() ? std::nullopt
                                  : LOGITD_CLI_OPTIONAL(continuation.score().totals(), cumulative_model_log_prob);
}

// Whether some token has probability zero, under the model itself or only under the processed distribution. If the
// request asked for sums without tokens, a missing sum tells it.
bool HasExcluded(const v1::ScoredContinuation& continuation, bool by_model) {
  const auto& tokens = continuation.score().tokens();
  const v1::SequenceTotals& totals = continuation.score().totals();
  if (tokens.empty() && totals.token_count() > 0) {
    return !(by_model ? totals.has_cumulative_model_log_prob() : totals.has_cumulative_sampling_log_prob());
  }
  return std::any_of(tokens.begin(), tokens.end(), [by_model](const v1::TokenRecord& token) {
    return token.log_prob_state() == v1::LOG_PROB_STATE_EXCLUDED && (!by_model || !token.has_model_log_prob());
  });
}

std::string ShowSum(std::optional<double> sum, bool is_excluded) {
  return !sum && is_excluded ? "excluded" : ShowNumber(sum);
}

std::string ShowError(const v1::Error& error) {
  return absl::StrCat("error: ", SanitizeForTerminal(error.message()), " (", client::ReasonName(error.reason()), ")\n");
}

std::string LabelAt(const std::vector<std::string>& labels, int index) {
  return index < static_cast<int>(labels.size()) ? labels[index] : absl::StrCat(index);
}

// The largest of some numbers and the indices that have it, several if they tie, none if there is no number.
std::vector<int> Best(const std::vector<std::optional<double>>& values) {
  std::vector<int> best;
  for (int i = 0; i < static_cast<int>(values.size()); ++i) {
    if (!values[i]) continue;
    if (best.empty() || *values[i] > *values[best[0]]) {
      best = {i};
    } else if (*values[i] == *values[best[0]]) {
      best.push_back(i);
    }
  }
  return best;
}

std::string ShowBest(const std::vector<int>& best) {
  if (best.empty()) return "-";
  return absl::StrCat(best.size() > 1 ? "tie " : "", absl::StrJoin(best, ", "));
}

// The continuations with the likeliest token at each position that two or more of them reach.
std::string TokenByToken(const Continuations& continuations, const Style& style) {
  std::vector<Table::Column> columns = {{"position", Table::kRight, Table::kWhole, /*is_key=*/true}};
  int length = 0;
  for (int c = 0; c < continuations.size(); ++c) {
    columns.push_back({absl::StrCat("continuation ", c)});
    length = std::max(length, continuations[c].score().tokens_size());
  }
  columns.push_back({"winner", Table::kLeft});
  Table table(std::move(columns));
  std::vector<int> wins(continuations.size(), 0);
  for (int position = 0; position < length; ++position) {
    std::vector<Table::Cell> row = {{absl::StrCat(position)}};
    std::vector<std::optional<double>> values;
    int contender_count = 0;
    for (const v1::ScoredContinuation& continuation : continuations) {
      std::optional<double> log_prob;
      std::string shown = "-";
      if (position < continuation.score().tokens_size()) {
        const v1::TokenRecord& token = continuation.score().tokens(position);
        log_prob = LOGITD_CLI_OPTIONAL(token, model_log_prob);
        shown = ShowLogProb(log_prob, token.log_prob_state());
        ++contender_count;
      }
      values.push_back(log_prob);
      row.push_back({shown, log_prob});
    }
    const std::vector<int> best = contender_count > 1 ? Best(values) : std::vector<int>();
    if (best.size() == 1) ++wins[best[0]];
    row.push_back({ShowBest(best)});
    table.Add(std::move(row));
  }
  std::string out = "positions won:";
  for (int c = 0; c < continuations.size(); ++c) {
    absl::StrAppend(&out, c == 0 ? " " : ", ", "continuation ", c, ": ", wins[c]);
  }
  return table.Render(style) + Filled(out, style.width, kIndent) + "\n";
}

std::string Totals(const Continuations& continuations, const Style& style) {
  std::vector<std::optional<double>> sums;
  for (const v1::ScoredContinuation& continuation : continuations) sums.push_back(SumOf(continuation));
  const std::vector<int> best = Best(sums);
  if (best.empty()) return "";
  std::string out = best.size() == 1 ? absl::StrCat("continuation ", best[0], " wins in total:")
                                     : absl::StrCat("continuations ", absl::StrJoin(best, ", "), " tie in total:");
  for (int c = 0; c < continuations.size(); ++c) {
    absl::StrAppend(&out, c == 0 ? " " : ", ", "continuation ", c, ": ", ShowNumber(sums[c]));
  }
  return Filled(out, style.width, kIndent) + "\n";
}

}  // namespace

bool HasFailed(const v1::ScoredItem& item) {
  if (item.has_error()) return true;
  const Continuations& continuations = item.continuations();
  return std::any_of(continuations.begin(), continuations.end(),
                     [](const v1::ScoredContinuation& continuation) { return continuation.has_error(); });
}

std::string ScoreSummary(const v1::ScoredItem& item, const std::vector<std::string>& labels, const Style& style,
                         const char* heading, bool has_sampling, const char* noun) {
  if (item.has_error()) return Filled(ShowError(item.error()), style.width);
  const Continuations& continuations = item.continuations();
  has_sampling = has_sampling || std::any_of(continuations.begin(), continuations.end(), [](const auto& continuation) {
                   return continuation.score().totals().has_cumulative_sampling_log_prob() ||
                          (!continuation.score().tokens().empty() && HasExcluded(continuation, /*by_model=*/false) &&
                           !HasExcluded(continuation, /*by_model=*/true));
                 });
  std::vector<Table::Column> columns = {{"", Table::kRight, Table::kWhole, /*is_key=*/true},
                                        {heading, Table::kLeft, Table::kShorten, /*is_key=*/true},
                                        {"tokens"},
                                        {"model log-prob"}};
  if (has_sampling) columns.push_back({"sampling log-prob"});
  for (const char* heading : {"per token", "perplexity"}) columns.push_back({heading});
  const bool is_calibrated = std::any_of(continuations.begin(), continuations.end(), [](const auto& continuation) {
    return continuation.has_calibrated_probability();
  });
  if (is_calibrated) columns.push_back({"calibrated"});
  columns.push_back({"greedy", Table::kLeft});
  Table table(std::move(columns));
  std::string errors;
  for (int c = 0; c < continuations.size(); ++c) {
    const v1::ScoredContinuation& continuation = continuations[c];
    const v1::SequenceTotals& totals = continuation.score().totals();
    const std::optional<double> sum = SumOf(continuation);
    const std::optional<double> per_token =
        sum && totals.token_count() > 0 ? std::optional<double>(*sum / totals.token_count()) : std::nullopt;
    if (continuation.has_error()) {
      absl::StrAppend(&errors, noun, " ", c, ": ", ShowError(continuation.error()));
    }
    std::vector<Table::Cell> row = {{absl::StrCat(c)},
                                    {LabelAt(labels, c)},
                                    {continuation.has_error() ? "-" : absl::StrCat(totals.token_count())},
                                    {ShowSum(sum, HasExcluded(continuation, /*by_model=*/true)), per_token}};
    if (has_sampling) {
      row.push_back({ShowSum(LOGITD_CLI_OPTIONAL(totals, cumulative_sampling_log_prob),
                             HasExcluded(continuation, /*by_model=*/false)),
                     std::nullopt});
    }
    row.push_back({ShowNumber(per_token)});
    row.push_back({continuation.has_error() ? "-" : ShowNumber(PerplexityOf(totals))});
    if (is_calibrated) row.push_back({ShowNumber(LOGITD_CLI_OPTIONAL(continuation, calibrated_probability))});
    row.push_back({!continuation.score().has_is_greedy() ? "-"
                   : continuation.score().is_greedy()    ? "yes"
                                                         : "no",
                   std::nullopt});
    table.Add(std::move(row));
  }
  return table.Render(style) + Filled(BoundaryNotes(item) + errors, style.width);
}

std::string ScoreExplanation(const v1::ScoredItem& item, const std::vector<std::string>& labels, const Style& style,
                             bool compare) {
  if (item.has_error()) return Filled(ShowError(item.error()), style.width);
  std::string out;
  const Continuations& continuations = item.continuations();
  for (int c = 0; c < continuations.size(); ++c) {
    const std::string heading = absl::StrCat("continuation ", c, ": ", LabelAt(labels, c));
    absl::StrAppend(&out, Bold(ShortenOnTerminal(heading, style.width, style), style.colour), "\n");
    const v1::ScoredContinuation& continuation = continuations[c];
    absl::StrAppend(&out,
                    continuation.has_error() ? Filled(ShowError(continuation.error()), style.width)
                                             : TokenTable(continuation.score().tokens(), style),
                    "\n");
  }
  if (compare && continuations.size() > 1) {
    absl::StrAppend(&out, Bold("token by token", style.colour), "\n", TokenByToken(continuations, style), "\n");
  }
  absl::StrAppend(&out, Bold("in total", style.colour), "\n", ScoreSummary(item, labels, style));
  if (compare && continuations.size() > 1) out += Totals(continuations, style);
  return out;
}

std::string ScoreLine(const v1::ScoreResponse& response) {
  std::string out = absl::StrCat(response.item_index());
  if (response.item().has_error()) {
    return absl::StrCat(out, "\terror:", client::ReasonName(response.item().error().reason()));
  }
  for (const v1::ScoredContinuation& continuation : response.item().continuations()) {
    const std::optional<double> sum = SumOf(continuation);
    absl::StrAppend(&out, "\t",
                    continuation.has_error() ? absl::StrCat("error:", client::ReasonName(continuation.error().reason()))
                                             : ShowSum(sum, HasExcluded(continuation, /*by_model=*/true)));
  }
  return out;
}

std::string ScoreLineErrors(const v1::ScoreResponse& response) {
  const std::string item = absl::StrCat("item ", response.item_index());
  if (response.item().has_error()) {
    return absl::StrCat(item, ": ", SanitizeForTerminal(response.item().error().message()), "\n");
  }
  std::string out;
  // A doubled BOS changes the numbers, and nothing in the line shows it.
  if (response.item().tokenization().doubled_bos()) {
    v1::TokenizationReport doubled;
    doubled.set_doubled_bos(true);
    absl::StrAppend(&out, item, ": ", TokenizationNote(doubled, "the context"));
  }
  const Continuations& continuations = response.item().continuations();
  for (int c = 0; c < continuations.size(); ++c) {
    if (continuations[c].boundary().text_changed()) {
      absl::StrAppend(&out, item, ", continuation ", c, ": the tokens scored do not spell context + continuation\n");
    }
    if (!continuations[c].has_error()) continue;
    absl::StrAppend(&out, item, ", continuation ", c, ": ", SanitizeForTerminal(continuations[c].error().message()),
                    "\n");
  }
  return out;
}

}  // namespace logitd::cli
