#include "client/cli/compare_positions.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/compare_continuations.h"
#include "client/comparison/aligned_bits.h"

namespace logitd::cli {
namespace {

using comparison::Bounds;
using comparison::Duel;
using comparison::ProbabilityOf;
using comparison::TokenDifference;

// The positions whose tokens' differences are listed, and the sentences about confident tokens.
constexpr size_t kDifferencePositions = 10;
constexpr size_t kConfidentSentences = 2;
// A sentence names at most this many positions.
constexpr size_t kNamedPositions = 6;

std::string Shown(const ComparedRows& rows, int32_t token_id) {
  return rows.show_token ? rows.show_token(token_id) : absl::StrCat(token_id);
}

bool HasTokens(const ComparedRows& rows) {
  return std::any_of(rows.positions.begin(), rows.positions.end(),
                     [](const ComparedPosition& at) { return at.token_id.has_value(); });
}

bool IsExact(const ComparedRows& rows) {
  return std::all_of(rows.positions.begin(), rows.positions.end(),
                     [](const ComparedPosition& at) { return at.divergence.has_value(); });
}

// All positions, those that differ most first; of equal ones the earliest.
std::vector<size_t> ByDifference(const ComparedRows& rows) {
  std::vector<size_t> order(rows.positions.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return JsOf(rows.positions[a]) > JsOf(rows.positions[b]); });
  return order;
}

// The first `count` of these, in the order of the positions.
std::vector<size_t> FirstInOrder(std::vector<size_t> order, size_t count) {
  order.resize(std::min(order.size(), count));
  std::sort(order.begin(), order.end());
  return order;
}

std::string Names(const ComparedRows& rows) { return absl::StrCat("0: ", rows.names[0], ", 1: ", rows.names[1]); }

ReportTable PositionTable(const ComparedRows& rows, const std::optional<Duel>& duel) {
  const bool exact = IsExact(rows);
  ReportTable table{.heading = "position by position",
                    .columns = {{"position", Table::kRight, Table::kWhole, /*is_key=*/true}}};
  if (duel) {
    table.columns.push_back({"token", Table::kLeft, Table::kShorten, /*is_key=*/true});
    for (const char* heading : {"log-prob 0", "log-prob 1", "difference", "sum 0", "sum 1"}) {
      table.columns.push_back({heading});
    }
  }
  for (const char* heading : exact ? std::vector<const char*>{"KL(0||1)", "KL(1||0)", "JS"}
                                   : std::vector<const char*>{"KL(0||1) >=", "KL(1||0) >=", "JS >=", "JS <="}) {
    table.columns.push_back({heading});
  }
  for (const char* heading : {"top-1 of 0", "top-1 of 1", "top-1"}) table.columns.push_back({heading, Table::kLeft});
  const std::vector<size_t> listed = FirstInOrder(ByDifference(rows), static_cast<size_t>(rows.listed_count));
  for (const size_t i : listed) {
    const ComparedPosition& at = rows.positions[i];
    std::vector<Table::Cell> row = {{absl::StrCat(i)}};
    if (duel) {
      row.push_back({at.token_id ? Shown(rows, *at.token_id) : "-"});
      for (const PositionSide& side : at.sides) {
        row.push_back({!side.log_prob                ? "-"
                       : *side.log_prob == -HUGE_VAL ? "excluded"
                                                     : ShowNumber(*side.log_prob),
                       side.log_prob});
      }
      row.push_back({at.token_id ? ShowDifference(duel->positions[i].difference) : "-"});
      row.push_back({ShowNumber(duel->positions[i].first_sum)});
      row.push_back({ShowNumber(duel->positions[i].second_sum)});
    }
    if (exact) {
      for (const double value : {at.divergence->kl_pq, at.divergence->kl_qp, at.divergence->js}) {
        row.push_back({ShowNumber(value)});
      }
    } else {
      for (const double value :
           {at.bounds->kl_pq.lower, at.bounds->kl_qp.lower, at.bounds->js.lower, at.bounds->js.upper}) {
        row.push_back({ShowNumber(value)});
      }
    }
    for (const PositionSide& side : at.sides) {
      row.push_back({absl::StrCat(Shown(rows, side.top_token), " ", ShowNumber(ProbabilityOf(side.top_log_prob)))});
    }
    row.push_back({at.sides[0].top_token == at.sides[1].top_token ? "same" : "differs"});
    table.rows.push_back(std::move(row));
  }
  table.note = Names(rows);
  if (listed.size() < rows.positions.size()) {
    absl::StrAppend(&table.note, "; the ", listed.size(), " of ", rows.positions.size(),
                    " positions that differ most: --positions N lists more, --json all");
  }
  return table;
}

ReportTable DifferenceTable(const ComparedRows& rows) {
  ReportTable table{.heading = "largest differences",
                    .columns = {{"position", Table::kRight, Table::kWhole, /*is_key=*/true},
                                {"token", Table::kLeft, Table::kShorten, /*is_key=*/true},
                                {"probability 0"},
                                {"probability 1"},
                                {"difference"}}};
  std::vector<size_t> order = ByDifference(rows);
  order.resize(std::min(order.size(), kDifferencePositions));
  for (const size_t i : order) {
    for (const TokenDifference& token : rows.positions[i].largest) {
      const double p = ProbabilityOf(token.p_log_prob);
      const double q = ProbabilityOf(token.q_log_prob);
      table.rows.push_back({{absl::StrCat(i)},
                            {Shown(rows, token.token_id)},
                            {token.p_log_prob == -HUGE_VAL ? "excluded" : ShowNumber(p)},
                            {token.q_log_prob == -HUGE_VAL ? "excluded" : ShowNumber(q)},
                            {ShowDifference(p - q)}});
    }
  }
  table.note = "the positions with the largest JS, and the tokens whose probabilities differ most";
  return table;
}

ReportTable DivergenceTable(const ComparedRows& rows) {
  const MeanDivergence mean = MeanOf(rows);
  const size_t worst = ByDifference(rows).front();
  ReportTable table{.heading = "divergence, mean over positions",
                    .columns = {{"", Table::kLeft, Table::kWhole, /*is_key=*/true}}};
  const auto add = [&](const std::string& name, const Bounds& bounds) {
    if (mean.is_exact) {
      table.rows.push_back({{name}, {ShowNumber(bounds.lower)}});
    } else {
      table.rows.push_back({{name}, {ShowNumber(bounds.lower)}, {ShowNumber(bounds.upper)}});
    }
  };
  if (mean.is_exact) {
    table.columns.push_back({"nats"});
  } else {
    table.columns.insert(table.columns.end(), {{"at least, nats"}, {"at most, nats"}});
  }
  add("KL(0||1)", mean.kl_01);
  add("KL(1||0)", mean.kl_10);
  add("JS", mean.js);
  table.note = absl::StrCat(Names(rows), "; largest JS ", mean.is_exact ? "" : "(lower bound) ",
                            ShowNumber(JsOf(rows.positions[worst])), " at position ", worst);
  return table;
}

ReportTable SumTable(const ComparedRows& rows, const Duel& duel) {
  ReportTable table{.heading = "in total",
                    .columns = {{"", Table::kRight, Table::kWhole, /*is_key=*/true},
                                {"name", Table::kLeft, Table::kShorten, /*is_key=*/true},
                                {"tokens"},
                                {"log-prob"},
                                {"per token"}}};
  const auto count = std::count_if(rows.positions.begin(), rows.positions.end(),
                                   [](const ComparedPosition& at) { return at.token_id.has_value(); });
  if (rows.byte_count > 0) table.columns.push_back({"bits per byte"});
  for (size_t side = 0; side < 2; ++side) {
    const double sum = side == 0 ? duel.positions.back().first_sum : duel.positions.back().second_sum;
    std::vector<Table::Cell> row = {{absl::StrCat(side)},
                                    {rows.names[side]},
                                    {absl::StrCat(count)},
                                    {ShowNumber(sum)},
                                    {ShowNumber(sum / static_cast<double>(count))}};
    if (rows.byte_count > 0) {
      row.push_back({ShowNumber(comparison::BitsOf(sum) / static_cast<double>(rows.byte_count))});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

// The fewest positions that have half of the whole JS, the largest first.
std::vector<size_t> HalfOfJs(const ComparedRows& rows) {
  const std::vector<size_t> order = ByDifference(rows);
  double whole = 0;
  for (const size_t i : order) whole += JsOf(rows.positions[i]);
  double sum = 0;
  size_t count = 0;
  while (count < order.size() && sum < whole / 2) sum += JsOf(rows.positions[order[count++]]);
  return {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count)};
}

std::string WorstSentence(const ComparedRows& rows) {
  const size_t worst = ByDifference(rows).front();
  const ComparedPosition& at = rows.positions[worst];
  if (JsOf(at) == 0) {
    return IsExact(rows) ? "All distributions are equal: every divergence is 0." : "No difference is known of.";
  }
  std::string sentence = absl::StrCat("They differ most at position ", worst, " (JS ", at.divergence ? "" : "at least ",
                                      ShowNumber(JsOf(at)), " nats; the most that there can be is 0.693147)");
  if (!at.largest.empty()) {
    const TokenDifference& token = at.largest.front();
    absl::StrAppend(&sentence, ": the probability of ", Shown(rows, token.token_id), " is ",
                    ShowNumber(ProbabilityOf(token.p_log_prob)), " by ", rows.names[0], " and ",
                    ShowNumber(ProbabilityOf(token.q_log_prob)), " by ", rows.names[1]);
  }
  const std::vector<size_t> half = HalfOfJs(rows);
  if (half.size() <= kNamedPositions && rows.positions.size() > half.size()) {
    absl::StrAppend(&sentence, ". Half of the whole JS is at position", half.size() == 1 ? " " : "s ",
                    absl::StrJoin(half, ", "));
  }
  return sentence + ".";
}

// The tokens that one side excludes and the other does not make KL infinite.
std::string InfiniteSentence(const ComparedRows& rows, size_t excluding) {
  const auto is_infinite = [&](const ComparedPosition& at) {
    const double kl = at.divergence ? (excluding == 1 ? at.divergence->kl_pq : at.divergence->kl_qp)
                                    : (excluding == 1 ? at.bounds->kl_pq.lower : at.bounds->kl_qp.lower);
    return kl == HUGE_VAL;
  };
  const auto count = std::count_if(rows.positions.begin(), rows.positions.end(), is_infinite);
  if (count == 0) return "";
  return absl::StrCat(excluding == 1 ? "KL(0||1)" : "KL(1||0)", " is infinite at ", Count(count, "position"),
                      ", because ", rows.names[excluding], " excludes tokens there that ", rows.names[1 - excluding],
                      " does not.");
}

std::vector<std::string> Sentences(const ComparedRows& rows, const std::optional<Duel>& duel) {
  std::vector<std::string> sentences;
  if (duel) {
    std::vector<std::string> tokens;
    for (const ComparedPosition& at : rows.positions) tokens.push_back(at.token_id ? Shown(rows, *at.token_id) : "");
    sentences = DuelWords(*duel, {rows.names[0], tokens}, {rows.names[1], tokens}, /*same_tokens=*/true);
  }
  const MeanDivergence mean = MeanOf(rows);
  sentences.push_back(absl::StrCat("Their most likely token is the same at ", mean.top_agreements, " of ",
                                   Count(static_cast<int64_t>(rows.positions.size()), "position"), "."));
  sentences.push_back(WorstSentence(rows));
  for (const size_t side : {1, 0}) {
    if (const std::string infinite = InfiniteSentence(rows, side); !infinite.empty()) sentences.push_back(infinite);
  }
  for (size_t side = 0; side < 2; ++side) {
    std::vector<ConfidentToken> tokens = ConfidentTokensOf(rows, side);
    std::stable_sort(tokens.begin(), tokens.end(), [](const ConfidentToken& a, const ConfidentToken& b) {
      return a.given_log_prob < b.given_log_prob;
    });
    for (size_t i = 0; i < std::min(tokens.size(), kConfidentSentences); ++i) {
      sentences.push_back(ConfidentWords(tokens[i], rows.names[side], "", rows.rule.confidence));
    }
  }
  return sentences;
}

std::vector<Plot> Plots(const ComparedRows& rows, const std::optional<Duel>& duel) {
  std::vector<Plot> plots;
  std::vector<std::string> tokens;
  for (const ComparedPosition& at : rows.positions) tokens.push_back(at.token_id ? Shown(rows, *at.token_id) : "");
  const bool exact = IsExact(rows);
  Plot divergence{.heading = exact ? "Divergence at each position" : "Divergence at each position: lower bounds",
                  .x_label = "position",
                  .y_label = "nats",
                  .series = {{exact ? "KL(0||1)" : "KL(0||1) >=", {}},
                             {exact ? "KL(1||0)" : "KL(1||0) >=", {}},
                             {exact ? "JS" : "JS >=", {}}},
                  .names = tokens};
  for (size_t i = 0; i < rows.positions.size(); ++i) {
    const ComparedPosition& at = rows.positions[i];
    divergence.series[0].points.emplace_back(i, at.divergence ? at.divergence->kl_pq : at.bounds->kl_pq.lower);
    divergence.series[1].points.emplace_back(i, at.divergence ? at.divergence->kl_qp : at.bounds->kl_qp.lower);
    divergence.series[2].points.emplace_back(i, JsOf(at));
  }
  plots.push_back(std::move(divergence));
  if (!duel) return plots;
  Plot sums{.heading = "Running sums of the log-probs",
            .x_label = "position",
            .y_label = "nats",
            .series = {{rows.names[0], {}}, {rows.names[1], {}}},
            .names = tokens};
  Plot differences{.heading = absl::StrCat("Log-prob of each token: ", rows.names[0], " minus ", rows.names[1]),
                   .x_label = "position",
                   .y_label = "nats",
                   .kind = Plot::kBars,
                   .series = {{"difference", {}}},
                   .names = tokens};
  for (size_t i = 0; i < duel->positions.size(); ++i) {
    sums.series[0].points.emplace_back(i, duel->positions[i].first_sum);
    sums.series[1].points.emplace_back(i, duel->positions[i].second_sum);
    if (duel->positions[i].difference) differences.series[0].points.emplace_back(i, *duel->positions[i].difference);
  }
  plots.push_back(std::move(sums));
  plots.push_back(std::move(differences));
  return plots;
}

}  // namespace

double JsOf(const ComparedPosition& position) {
  return position.divergence ? position.divergence->js : position.bounds->js.lower;
}

std::optional<Duel> DuelOf(const ComparedRows& rows) {
  if (!HasTokens(rows)) return std::nullopt;
  std::array<comparison::LogProbs, 2> log_probs;
  for (const ComparedPosition& at : rows.positions) {
    for (size_t side = 0; side < 2; ++side) log_probs[side].push_back(at.sides[side].log_prob);
  }
  return comparison::DuelOf(log_probs[0], log_probs[1], 0);
}

MeanDivergence MeanOf(const ComparedRows& rows) {
  MeanDivergence mean;
  const auto count = static_cast<double>(rows.positions.size());
  const auto add = [&](Bounds& to, double lower, double upper) {
    to.lower += lower / count;
    to.upper += upper / count;
  };
  for (const ComparedPosition& at : rows.positions) {
    if (at.divergence) {
      add(mean.kl_01, at.divergence->kl_pq, at.divergence->kl_pq);
      add(mean.kl_10, at.divergence->kl_qp, at.divergence->kl_qp);
      add(mean.js, at.divergence->js, at.divergence->js);
      mean.total_variation += at.divergence->total_variation / count;
    } else {
      add(mean.kl_01, at.bounds->kl_pq.lower, at.bounds->kl_pq.upper);
      add(mean.kl_10, at.bounds->kl_qp.lower, at.bounds->kl_qp.upper);
      add(mean.js, at.bounds->js.lower, at.bounds->js.upper);
      mean.is_exact = false;
    }
    mean.top_agreements += at.sides[0].top_token == at.sides[1].top_token ? 1 : 0;
  }
  return mean;
}

std::vector<ConfidentToken> ConfidentTokensOf(const ComparedRows& rows, size_t side) {
  std::vector<ConfidentToken> found;
  for (size_t i = 0; i < rows.positions.size(); ++i) {
    const ComparedPosition& at = rows.positions[i];
    const PositionSide& of = at.sides[side];
    if (!at.token_id || *at.token_id == of.top_token) continue;
    if (!IsConfidentlyAgainst(*of.log_prob, of.top_log_prob, of.entropy, rows.rule)) continue;
    found.push_back({.position = static_cast<int32_t>(i),
                     .given = Shown(rows, *at.token_id),
                     .given_probability = ProbabilityOf(*of.log_prob),
                     .given_log_prob = *of.log_prob,
                     .top = Shown(rows, of.top_token),
                     .top_probability = ProbabilityOf(of.top_log_prob),
                     .entropy = of.entropy});
  }
  return found;
}

CompareReport PositionsReport(const ComparedRows& rows) {
  const std::optional<Duel> duel = DuelOf(rows);
  CompareReport report{.title = absl::StrCat(rows.names[0], " and ", rows.names[1]),
                       .answers = Sentences(rows, duel),
                       .plots = Plots(rows, duel)};
  report.tables.push_back(PositionTable(rows, duel));
  if (ReportTable table = DifferenceTable(rows); !table.rows.empty()) report.tables.push_back(std::move(table));
  std::vector<ConfidentToken> confident;
  std::vector<std::string> owners;
  for (size_t side = 0; side < 2; ++side) {
    for (const ConfidentToken& token : ConfidentTokensOf(rows, side)) {
      confident.push_back(token);
      owners.push_back(rows.names[side]);
    }
  }
  if (!confident.empty()) report.tables.push_back(ConfidentTable(confident, owners, "by"));
  report.tables.push_back(DivergenceTable(rows));
  if (duel) report.tables.push_back(SumTable(rows, *duel));
  return report;
}

}  // namespace logitd::cli
