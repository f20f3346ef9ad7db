#include "client/cli/compare_bits.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/compare_continuations.h"
#include "client/cli/compare_words.h"
#include "client/cli/json_object.h"
#include "client/cli/token_text.h"
#include "client/comparison/aligned_bits.h"

namespace logitd::cli {
namespace {

using comparison::AlignedPiece;
using comparison::BitsOf;
using comparison::TokenOfText;
using Pieces = std::optional<std::vector<AlignedPiece>>;

// The model's tokens as parts of the text. Unset: they do not spell it.
std::optional<std::vector<TokenOfText>> TokensOf(const v1::ScoredContinuation& continuation, const std::string& text) {
  std::vector<TokenOfText> tokens;
  std::string spelled;
  for (const v1::TokenRecord& token : continuation.score().tokens()) {
    std::string bytes = token.token_bytes();
    // The token that has bytes of the context too counts whole, and has the rest of its bytes here.
    if (tokens.empty() && continuation.boundary().token_spans_boundary()) {
      bytes.erase(0, static_cast<size_t>(continuation.boundary().spanning_bytes()));
    }
    tokens.push_back({static_cast<int64_t>(bytes.size()), LogProbOf(token)});
    spelled += bytes;
  }
  if (spelled != text) return std::nullopt;
  return tokens;
}

double SumOf(const v1::ScoredContinuation& continuation) {
  const v1::SequenceTotals& totals = continuation.score().totals();
  return totals.has_cumulative_model_log_prob() ? totals.cumulative_model_log_prob() : -HUGE_VAL;
}

ReportTable PieceTable(const std::vector<AlignedPiece>& pieces, const std::string& text) {
  ReportTable table{.heading = "bits over bytes",
                    .columns = {{"bytes", Table::kRight, Table::kWhole, /*is_key=*/true},
                                {"text", Table::kLeft, Table::kShorten, /*is_key=*/true},
                                {"tokens 0"},
                                {"tokens 1"},
                                {"bits 0"},
                                {"bits 1"},
                                {"difference"},
                                {"running bits 0"},
                                {"running bits 1"}}};
  for (const AlignedPiece& piece : pieces) {
    const bool both_infinite = piece.first_bits == HUGE_VAL && piece.second_bits == HUGE_VAL;
    const std::string part =
        text.substr(static_cast<size_t>(piece.begin), static_cast<size_t>(piece.end - piece.begin));
    table.rows.push_back({{absl::StrCat(piece.begin, "-", piece.end)},
                          {absl::StrCat("\"", EscapeText(part), "\"")},
                          {absl::StrCat(piece.first_token_count)},
                          {absl::StrCat(piece.second_token_count)},
                          {ShowNumber(piece.first_bits)},
                          {ShowNumber(piece.second_bits)},
                          {both_infinite ? "-" : ShowDifference(piece.first_bits - piece.second_bits)},
                          {ShowNumber(piece.first_running_bits)},
                          {ShowNumber(piece.second_running_bits)}});
  }
  table.note = "each piece is the shortest one at whose ends tokens of both models end";
  return table;
}

std::string PieceJson(const AlignedPiece& piece) {
  return JsonObject()
      .Integer("begin_byte", piece.begin)
      .Integer("end_byte", piece.end)
      .Json("token_counts", JsonArray({absl::StrCat(piece.first_token_count), absl::StrCat(piece.second_token_count)}))
      .Json("bits", JsonNumbers({piece.first_bits, piece.second_bits}))
      .Json("running_bits", JsonNumbers({piece.first_running_bits, piece.second_running_bits}))
      .Done();
}

// The piece with the largest difference.
std::string WorstSentence(const std::vector<AlignedPiece>& pieces, const std::string& text,
                          const std::array<std::string, 2>& names) {
  const AlignedPiece* worst = nullptr;
  double largest = 0;
  for (const AlignedPiece& piece : pieces) {
    if (piece.first_bits == HUGE_VAL && piece.second_bits == HUGE_VAL) continue;
    const double difference = std::abs(piece.first_bits - piece.second_bits);
    if (difference > largest) worst = &piece;
    largest = std::max(largest, difference);
  }
  if (worst == nullptr) return "They spend the same bits everywhere.";
  const std::string part =
      text.substr(static_cast<size_t>(worst->begin), static_cast<size_t>(worst->end - worst->begin));
  return absl::StrCat("They differ most at bytes ", worst->begin, " to ", worst->end, ", \"", EscapeText(part),
                      "\": ", ShowNumber(worst->first_bits), " bits by ", names[0], " and ",
                      ShowNumber(worst->second_bits), " by ", names[1], ".");
}

Plot RunningPlot(const std::vector<AlignedPiece>& pieces, const std::array<std::string, 2>& names) {
  Plot plot{.heading = "Running bits over bytes",
            .x_label = "bytes",
            .y_label = "bits",
            .series = {{names[0], {{0, 0}}}, {names[1], {{0, 0}}}}};
  for (const AlignedPiece& piece : pieces) {
    plot.series[0].points.emplace_back(piece.end, piece.first_running_bits);
    plot.series[1].points.emplace_back(piece.end, piece.second_running_bits);
  }
  return plot;
}

}  // namespace

CompareReport CompareBits(const std::array<std::string, 2>& names, const std::array<int32_t, 2>& vocab_sizes,
                          const std::array<v1::ScoredContinuation, 2>& scored, const std::string& text,
                          const std::string& models) {
  CompareReport report{.title = absl::StrCat(names[0], " and ", names[1])};
  report.answers.push_back(absl::StrCat(
      "The vocabularies differ (", vocab_sizes[0], " tokens of ", names[0], ", ", vocab_sizes[1], " of ", names[1],
      "), so KL, JS and top-1 agreement are not defined between them: only bits are compared. 0 is ", names[0],
      ", 1 is ", names[1], "."));
  ReportTable totals{.heading = "in total",
                     .columns = {{"", Table::kRight, Table::kWhole, /*is_key=*/true},
                                 {"model", Table::kLeft, Table::kShorten, /*is_key=*/true},
                                 {"tokens"},
                                 {"bytes"},
                                 {"bits"},
                                 {"bits per byte"}}};
  std::array<double, 2> bits{};
  std::vector<std::string> sides;
  const auto byte_count = static_cast<double>(text.size());
  for (size_t i = 0; i < 2; ++i) {
    bits[i] = BitsOf(SumOf(scored[i]));
    totals.rows.push_back({{absl::StrCat(i)},
                           {names[i]},
                           {absl::StrCat(scored[i].score().tokens_size())},
                           {absl::StrCat(text.size())},
                           {ShowNumber(bits[i])},
                           {ShowNumber(bits[i] / byte_count)}});
    sides.push_back(JsonObject()
                        .Text("name", names[i])
                        .Integer("token_count", scored[i].score().tokens_size())
                        .Integer("byte_count", static_cast<int64_t>(text.size()))
                        .Number("bits", bits[i])
                        .Number("bits_per_byte", bits[i] / byte_count)
                        .Done());
  }
  if (bits[0] == bits[1]) {
    report.answers.push_back("Both spend the same bits on the text.");
  } else {
    const size_t best = bits[0] < bits[1] ? 0 : 1;
    report.answers.push_back(absl::StrCat(names[best], " spends fewer bits on the text: ", ShowNumber(bits[best]),
                                          " against ", ShowNumber(bits[1 - best]), ", that is ",
                                          ShowNumber(bits[best] / byte_count), " and ",
                                          ShowNumber(bits[1 - best] / byte_count), " per byte."));
  }
  const auto first = TokensOf(scored[0], text);
  const auto second = TokensOf(scored[1], text);
  const Pieces pieces = first && second ? comparison::AlignBits(*first, *second) : std::nullopt;
  std::vector<std::string> pieces_json;
  if (pieces) {
    report.tables.push_back(PieceTable(*pieces, text));
    report.plots.push_back(RunningPlot(*pieces, names));
    report.answers.push_back(WorstSentence(*pieces, text, names));
    for (const AlignedPiece& piece : *pieces) pieces_json.push_back(PieceJson(piece));
  } else {
    const char* who = !first ? names[0].c_str() : names[1].c_str();
    report.answers.push_back(
        absl::StrCat("The tokens of ", who, " do not spell the text byte for byte, so there are no running bits."));
  }
  for (const v1::ScoredContinuation& continuation : scored) {
    if (!continuation.boundary().token_spans_boundary()) continue;
    const size_t i = &continuation == &scored[0] ? 0 : 1;
    report.answers.push_back(absl::StrCat("The first token of ", names[i], " has ",
                                          Count(continuation.boundary().spanning_bytes(), "byte"),
                                          " of the context too, and its bits count whole."));
  }
  report.tables.push_back(std::move(totals));
  std::vector<std::string> answers;
  for (const std::string& answer : report.answers) answers.push_back(JsonText(answer));
  JsonObject json;
  json.Text("kind", "models").Bool("equal_vocabularies", false).Json("models", models).Json("sides", JsonArray(sides));
  if (pieces) json.Json("pieces", JsonArray(pieces_json));
  report.json = json.Json("answer", JsonArray(answers)).Done();
  return report;
}

}  // namespace logitd::cli
