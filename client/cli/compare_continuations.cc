#include "client/cli/compare_continuations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/duel_json.h"
#include "client/cli/json_lines.h"
#include "client/cli/json_object.h"
#include "client/cli/record_table.h"
#include "client/cli/token_text.h"
#include "client/cli/tokenization_notes.h"
#include "client/comparison/aligned_bits.h"
#include "client/comparison/token_duel.h"

namespace logitd::cli {
namespace {

using comparison::Duel;
using comparison::DuelPosition;

// Sentences about confident tokens; the table has all of them.
constexpr size_t kConfidentSentences = 3;

// One of the two.
struct Entrant {
  Contender contender;
  const v1::ScoredSequence* score = nullptr;
  comparison::LogProbs log_probs = {};
  std::vector<int32_t> token_ids = {};
  std::vector<ConfidentToken> confident = {};
};

Entrant EntrantOf(const v1::ScoredContinuation& continuation, int index, const comparison::ConfidenceRule& rule) {
  Entrant entrant{.contender = {absl::StrCat("continuation ", index), {}}, .score = &continuation.score()};
  for (const v1::TokenRecord& token : continuation.score().tokens()) {
    entrant.contender.tokens.push_back(ShowToken(token.token_bytes()));
    entrant.log_probs.push_back(LogProbOf(token));
    entrant.token_ids.push_back(token.token_id());
  }
  entrant.confident = ConfidentTokensOf(continuation.score(), rule);
  return entrant;
}

bool IsDeciding(const Duel& duel, int32_t position) {
  return std::find(duel.deciding_positions.begin(), duel.deciding_positions.end(), position) !=
         duel.deciding_positions.end();
}

ReportTable PositionTable(const std::array<Entrant, 2>& entrants, const Duel& duel, int32_t shared) {
  ReportTable table{.heading = "token by token",
                    .columns = {{"position", Table::kRight, Table::kWhole, /*is_key=*/true},
                                {"continuation 0", Table::kLeft, Table::kShorten},
                                {"log-prob 0"},
                                {"continuation 1", Table::kLeft, Table::kShorten},
                                {"log-prob 1"},
                                {"difference"},
                                {"sum 0"},
                                {"sum 1"},
                                {"ahead"},
                                {"remark", Table::kLeft}}};
  for (int32_t i = 0; i < static_cast<int32_t>(duel.positions.size()); ++i) {
    const DuelPosition& at = duel.positions[i];
    const auto token = [&](const Entrant& entrant) {
      return i < static_cast<int32_t>(entrant.contender.tokens.size()) ? entrant.contender.tokens[i] : "";
    };
    const auto log_prob = [](const std::optional<double>& value) {
      return Table::Cell{!value ? "" : *value == -HUGE_VAL ? "excluded" : ShowNumber(*value), value};
    };
    std::string ahead = "-";
    if (at.sum_difference) {
      ahead = *at.sum_difference == 0
                  ? "tie"
                  : absl::StrCat(*at.sum_difference > 0 ? 0 : 1, " by ", ShowNumber(std::abs(*at.sum_difference)));
    }
    std::string remark = i == shared && shared > 0 ? "they part" : "";
    if (IsDeciding(duel, i)) absl::StrAppend(&remark, remark.empty() ? "" : ", ", "decides");
    table.rows.push_back({{absl::StrCat(i)},
                          {token(entrants[0])},
                          log_prob(at.first),
                          {token(entrants[1])},
                          log_prob(at.second),
                          {ShowDifference(at.difference)},
                          {ShowNumber(at.first_sum)},
                          {ShowNumber(at.second_sum)},
                          {ahead},
                          {remark}});
  }
  table.note = absl::StrCat("positions won: continuation 0: ", duel.first_wins, ", continuation 1: ", duel.second_wins,
                            duel.ties > 0 ? absl::StrCat(", ties: ", duel.ties) : "");
  return table;
}

double SumOf(const Duel& duel, size_t index) {
  if (duel.positions.empty()) return 0;
  return index == 0 ? duel.positions.back().first_sum : duel.positions.back().second_sum;
}

std::optional<double> PerTokenOf(const Entrant& entrant, double sum) {
  if (entrant.log_probs.empty()) return std::nullopt;
  return sum / static_cast<double>(entrant.log_probs.size());
}

std::optional<double> BitsPerByteOf(const Entrant& entrant, double sum) {
  if (entrant.score->byte_count() <= 0) return std::nullopt;
  return comparison::BitsOf(sum) / entrant.score->byte_count();
}

ReportTable TotalTable(const std::array<Entrant, 2>& entrants, const std::vector<std::string>& labels,
                       const Duel& duel) {
  ReportTable table{.heading = "in total",
                    .columns = {{"", Table::kRight, Table::kWhole, /*is_key=*/true},
                                {"continuation", Table::kLeft, Table::kShorten, /*is_key=*/true},
                                {"tokens"},
                                {"model log-prob"},
                                {"per token"},
                                {"bits per byte"}}};
  for (size_t i = 0; i < entrants.size(); ++i) {
    const double sum = SumOf(duel, i);
    table.rows.push_back({{absl::StrCat(i)},
                          {labels[i]},
                          {absl::StrCat(entrants[i].log_probs.size())},
                          {ShowNumber(sum)},
                          {ShowNumber(PerTokenOf(entrants[i], sum))},
                          {ShowNumber(BitsPerByteOf(entrants[i], sum))}});
  }
  return table;
}

// The sentence about a confident token; if the other continuation goes on with that very token, so is said.
std::string ConfidentSentence(const std::array<Entrant, 2>& entrants, size_t index, const ConfidentToken& token,
                              int32_t shared, double confidence) {
  const Entrant& other = entrants[1 - index];
  std::string sentence = ConfidentWords(
      token, "the model", token.position < shared ? " in both" : absl::StrCat(" in ", entrants[index].contender.name),
      confidence);
  const v1::TokenRecord& record = entrants[index].score->tokens(token.position);
  const bool is_others = token.position == shared && token.position < static_cast<int32_t>(other.token_ids.size()) &&
                         record.top().token_ids(0) == other.token_ids[token.position];
  if (is_others) {
    absl::StrAppend(&sentence, " ", token.top, " is the token of ", other.contender.name, ": if ",
                    entrants[index].contender.name, " is right, it is the confident wrong token.");
  }
  return sentence;
}

std::string TokenJson(const Entrant& entrant, int32_t position, double running_sum) {
  const v1::TokenRecord& record = entrant.score->tokens(position);
  std::vector<std::string> top;
  for (int i = 0; i < record.top().token_ids_size() && i < record.top().model_log_probs_size(); ++i) {
    JsonObject alternative;
    alternative.Integer("token_id", record.top().token_ids(i));
    if (i < record.top().token_bytes_size()) alternative.Bytes("token_bytes", record.top().token_bytes(i));
    alternative.Number("model_log_prob", record.top().model_log_probs(i));
    top.push_back(alternative.Done());
  }
  JsonObject json;
  json.Integer("position", position)
      .Integer("token_id", record.token_id())
      .Bytes("token_bytes", record.token_bytes())
      .Number("model_log_prob", *entrant.log_probs[position]);
  if (record.has_rank()) json.Integer("rank", record.rank());
  return json.Number("model_entropy", LOGITD_CLI_OPTIONAL(record, model_entropy))
      .Number("running_sum", running_sum)
      .Json("top", JsonArray(top))
      .Done();
}

std::string EntrantJson(const Entrant& entrant, const std::string& label, const Duel& duel, size_t index) {
  std::vector<std::string> tokens;
  for (int32_t i = 0; i < static_cast<int32_t>(entrant.log_probs.size()); ++i) {
    tokens.push_back(TokenJson(entrant, i, index == 0 ? duel.positions[i].first_sum : duel.positions[i].second_sum));
  }
  std::vector<std::string> confident;
  for (const ConfidentToken& token : entrant.confident) confident.push_back(ConfidentJson(token));
  const double sum = SumOf(duel, index);
  return JsonObject()
      .Text("label", label)
      .Integer("token_count", static_cast<int64_t>(tokens.size()))
      .Number("sum_model_log_prob", sum)
      .Number("per_token", PerTokenOf(entrant, sum))
      .Number("bits_per_byte", BitsPerByteOf(entrant, sum))
      .Integer("positions_won", index == 0 ? duel.first_wins : duel.second_wins)
      .Json("tokens", JsonArray(tokens))
      .Json("confident_tokens", JsonArray(confident))
      .Done();
}

std::string ReportJson(const v1::ScoreResponse& response, const std::array<Entrant, 2>& entrants,
                       const std::vector<std::string>& labels, const Duel& duel, int32_t shared,
                       const std::vector<std::string>& answers) {
  std::vector<std::string> continuations, positions, sentences;
  for (size_t i = 0; i < entrants.size(); ++i) continuations.push_back(EntrantJson(entrants[i], labels[i], duel, i));
  for (size_t i = 0; i < duel.positions.size(); ++i) {
    positions.push_back(JsonObject()
                            .Integer("position", static_cast<int64_t>(i))
                            .Number("difference", duel.positions[i].difference)
                            .Number("running_difference", duel.positions[i].sum_difference)
                            .Done());
  }
  for (const std::string& answer : answers) sentences.push_back(JsonText(answer));
  JsonObject json;
  json.Text("kind", "continuations")
      .Integer("shared_token_count", shared)
      .Json("continuations", JsonArray(continuations))
      .Json("positions", JsonArray(positions));
  AddDuel(duel, json);
  return json.Json("answer", JsonArray(sentences)).Json("provenance", ToJson(response.provenance())).Done();
}

std::vector<Plot> PlotsOf(const std::array<Entrant, 2>& entrants, const std::vector<std::string>& labels,
                          const Duel& duel) {
  Plot sums{.heading = "Running sums", .x_label = "position", .y_label = "nats"};
  Plot costs{.heading = "Cost of each token (minus its log-prob)",
             .x_label = "position",
             .y_label = "nats",
             .kind = Plot::kBars};
  for (size_t i = 0; i < entrants.size(); ++i) {
    PlotSeries sum{absl::StrCat(i, ": ", labels[i]), {}};
    PlotSeries cost = sum;
    for (size_t at = 0; at < entrants[i].log_probs.size(); ++at) {
      const DuelPosition& position = duel.positions[at];
      sum.points.emplace_back(at, i == 0 ? position.first_sum : position.second_sum);
      cost.points.emplace_back(at, -*entrants[i].log_probs[at]);
    }
    sums.series.push_back(std::move(sum));
    costs.series.push_back(std::move(cost));
  }
  return {std::move(sums), std::move(costs)};
}

}  // namespace

double LogProbOf(const v1::TokenRecord& token) {
  return token.has_model_log_prob() ? token.model_log_prob() : -HUGE_VAL;
}

std::string ShowDifference(std::optional<double> value) {
  if (!value) return "-";
  return *value > 0 ? absl::StrCat("+", ShowNumber(*value)) : ShowNumber(*value);
}

std::vector<ConfidentToken> ConfidentTokensOf(const v1::ScoredSequence& score, const comparison::ConfidenceRule& rule) {
  std::vector<ConfidentToken> found;
  for (const v1::TokenRecord& token : score.tokens()) {
    const v1::TokenAlternatives& top = token.top();
    if (top.token_ids().empty() || top.model_log_probs().empty() || top.token_ids(0) == token.token_id()) continue;
    const double log_prob = LogProbOf(token);
    if (!IsConfidentlyAgainst(log_prob, top.model_log_probs(0), token.model_entropy(), rule)) continue;
    found.push_back({.position = token.position(),
                     .given = ShowToken(token.token_bytes()),
                     .given_probability = comparison::ProbabilityOf(log_prob),
                     .given_rank = token.rank(),
                     .given_log_prob = log_prob,
                     .top = top.token_bytes().empty() ? absl::StrCat(top.token_ids(0)) : ShowToken(top.token_bytes(0)),
                     .top_probability = comparison::ProbabilityOf(top.model_log_probs(0)),
                     .entropy = token.model_entropy()});
  }
  return found;
}

ReportTable ConfidentTable(const std::vector<ConfidentToken>& tokens, const std::vector<std::string>& owners,
                           const std::string& owner_heading) {
  ReportTable table{.heading = "confident of another token",
                    .columns = {{owner_heading, Table::kLeft, Table::kShorten, /*is_key=*/true},
                                {"position", Table::kRight, Table::kWhole, /*is_key=*/true},
                                {"token", Table::kLeft, Table::kShorten},
                                {"probability"},
                                {"rank"},
                                {"most likely", Table::kLeft, Table::kShorten},
                                {"probability"},
                                {"entropy"}}};
  for (size_t i = 0; i < tokens.size(); ++i) {
    const ConfidentToken& token = tokens[i];
    table.rows.push_back({{owners[i]},
                          {absl::StrCat(token.position)},
                          {token.given},
                          {token.given_log_prob == -HUGE_VAL ? "excluded" : ShowNumber(token.given_probability)},
                          {token.given_rank > 0 ? absl::StrCat(token.given_rank) : "-"},
                          {token.top},
                          {ShowNumber(token.top_probability)},
                          {ShowNumber(token.entropy)}});
  }
  return table;
}

std::string ConfidentJson(const ConfidentToken& token) {
  JsonObject json;
  json.Integer("position", token.position).Text("token", token.given).Number("probability", token.given_probability);
  if (token.given_rank > 0) json.Integer("rank", token.given_rank);
  return json.Text("most_likely", token.top)
      .Number("most_likely_probability", token.top_probability)
      .Number("model_entropy", token.entropy)
      .Done();
}

CompareReport CompareContinuations(const v1::ScoreResponse& response, const std::vector<std::string>& labels,
                                   const comparison::ConfidenceRule& rule) {
  const v1::ScoredItem& item = response.item();
  const std::array<Entrant, 2> entrants = {EntrantOf(item.continuations(0), 0, rule),
                                           EntrantOf(item.continuations(1), 1, rule)};
  const int32_t shared = comparison::SharedLength(entrants[0].token_ids, entrants[1].token_ids);
  const Duel duel = comparison::DuelOf(entrants[0].log_probs, entrants[1].log_probs, shared);

  CompareReport report{.title = absl::StrCat(labels[0], " or ", labels[1])};
  report.answers.push_back(PartingWords(entrants[0].contender, entrants[1].contender, shared));
  const bool differ = entrants[0].token_ids != entrants[1].token_ids;
  if (differ) {
    for (std::string& sentence : DuelWords(duel, entrants[0].contender, entrants[1].contender, /*same_tokens=*/false)) {
      report.answers.push_back(std::move(sentence));
    }
  }
  std::vector<ConfidentToken> confident;
  std::vector<std::string> owners;
  std::vector<std::pair<double, std::string>> sentences;
  for (size_t i = 0; i < entrants.size(); ++i) {
    for (const ConfidentToken& token : entrants[i].confident) {
      // A position that both share is one position of one model.
      if (i == 1 && token.position < shared) continue;
      confident.push_back(token);
      owners.push_back(token.position < shared ? "both" : entrants[i].contender.name);
      sentences.emplace_back(token.given_log_prob, ConfidentSentence(entrants, i, token, shared, rule.confidence));
    }
  }
  // The dearest first.
  std::stable_sort(sentences.begin(), sentences.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < std::min(sentences.size(), kConfidentSentences); ++i) {
    report.answers.push_back(sentences[i].second);
  }
  if (!confident.empty()) report.tables.push_back(ConfidentTable(confident, owners, "continuation"));
  report.tables.insert(report.tables.begin(), PositionTable(entrants, duel, shared));
  report.tables.push_back(TotalTable(entrants, labels, duel));
  report.tables.back().note = BoundaryNotes(item);
  while (!report.tables.back().note.empty() && report.tables.back().note.back() == '\n') {
    report.tables.back().note.pop_back();
  }
  report.plots = PlotsOf(entrants, labels, duel);
  report.json = ReportJson(response, entrants, labels, duel, shared, report.answers);
  return report;
}

}  // namespace logitd::cli
