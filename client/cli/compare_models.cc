// `logit compare` of one continuation under two models.
//
// Equal vocabularies: both models score the same token ids. The rows come whole (top_n of the whole vocabulary), in
// pieces that fit Limits.max_alternatives, so that KL, JS and top-1 agreement are exact. With --top-n they are bounds
// from the most likely tokens of both. Different vocabularies: each model has its own tokens of the text, and only bits
// are compared.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/compare_bits.h"
#include "client/cli/compare_continuations.h"
#include "client/cli/compare_modes.h"
#include "client/cli/compare_positions.h"
#include "client/cli/json_lines.h"
#include "client/cli/json_object.h"
#include "client/cli/model_side.h"
#include "client/cli/pair_flags.h"
#include "client/cli/request_fields.h"
#include "client/cli/token_text.h"
#include "client/logitd/model_path.h"
#include "client/logitd/packed_column.h"

namespace logitd::cli {
namespace {

using Sides = ModelSides;

absl::StatusOr<client::PathPiece> Records(ModelSide& side, int32_t first, int32_t count,
                                          const v1::RecordOptions& record, const client::ModelPath::Named& named = {}) {
  side.Ask();
  ASSIGN_OR_RETURN(client::PathPiece piece, side.path->Records(first, count, record, named));
  side.provenance = piece.provenance;
  return piece;
}

// The row of a record that has the whole vocabulary.
absl::StatusOr<std::vector<double>> WholeRow(const v1::TokenRecord& record, int32_t vocab_size) {
  std::vector<double> row = client::UnpackColumn<double>(record.packed_top().model_log_probs());
  if (row.size() != static_cast<size_t>(vocab_size) || !record.packed_top().token_ids().empty()) {
    return absl::InternalError(
        absl::StrCat("the server answered a row of ", row.size(), " of ", vocab_size, " tokens"));
  }
  if (comparison::FaultOf(row)) return absl::InternalError("the server answered a row that is no distribution");
  return row;
}

PositionSide SideOf(const comparison::RowLogProbs& row, const v1::TokenRecord& record, double temperature) {
  // At temperature 1 it is the server's own number, to the bit.
  return {.top_token = row.top_token(),
          .top_log_prob = row.log_probs()[static_cast<size_t>(row.top_token())],
          .entropy = row.entropy(),
          .log_prob = temperature == 1 ? LogProbOf(record) : row.log_probs()[static_cast<size_t>(record.token_id())]};
}

// Whole rows of both, piece by piece.
absl::Status AddWholeRows(Sides& sides, int32_t rows_at_once, double temperature, ComparedRows& compared) {
  const int32_t vocab_size = sides[0].info.vocab_size();
  v1::RecordOptions record;
  record.set_top_n(vocab_size);
  record.set_packed_top(true);
  record.set_token_bytes(false);
  comparison::RowLogProbs p, q;
  for (int32_t first = 0; first < sides[0].path->length(); first += rows_at_once) {
    ASSIGN_OR_RETURN(const client::PathPiece p_piece, Records(sides[0], first, rows_at_once, record));
    ASSIGN_OR_RETURN(const client::PathPiece q_piece, Records(sides[1], first, rows_at_once, record));
    for (size_t i = 0; i < p_piece.records.size(); ++i) {
      ASSIGN_OR_RETURN(const std::vector<double> p_row, WholeRow(p_piece.records[i], vocab_size));
      ASSIGN_OR_RETURN(const std::vector<double> q_row, WholeRow(q_piece.records[i], vocab_size));
      p.Assign(p_row, temperature);
      q.Assign(q_row, temperature);
      ComparedPosition position{.token_id = p_piece.records[i].token_id()};
      position.sides = {SideOf(p, p_piece.records[i], temperature), SideOf(q, q_piece.records[i], temperature)};
      position.divergence = comparison::DivergenceOf(p, q, kLargestDifferences);
      position.largest = std::exchange(position.divergence->largest, {});
      compared.positions.push_back(std::move(position));
    }
  }
  return absl::OkStatus();
}

// The tokens that one top list has and the other has not, for each position.
client::ModelPath::Named MissingFrom(const std::vector<v1::TokenRecord>& has,
                                     const std::vector<v1::TokenRecord>& lacks) {
  client::ModelPath::Named named;
  for (size_t i = 0; i < has.size(); ++i) {
    const auto& theirs = lacks[i].top().token_ids();
    const std::set<int32_t> known(theirs.begin(), theirs.end());
    std::vector<int32_t>& ids = named.emplace_back();
    for (const int32_t id : has[i].top().token_ids()) {
      if (known.count(id) == 0) ids.push_back(id);
    }
  }
  return named;
}

// ln p of the tokens of a top list, and of those named.
using TokenLogProbs = std::vector<std::pair<int32_t, double>>;
TokenLogProbs Sorted(const v1::TokenRecord& record) {
  TokenLogProbs tokens;
  for (const v1::TokenAlternatives* list : {&record.top(), &record.named()}) {
    for (int i = 0; i < list->token_ids_size() && i < list->model_log_probs_size(); ++i) {
      tokens.emplace_back(list->token_ids(i), list->model_log_probs(i));
    }
  }
  std::sort(tokens.begin(), tokens.end());
  return tokens;
}

absl::StatusOr<ComparedPosition> BoundedPosition(const v1::TokenRecord& p, const v1::TokenRecord& q,
                                                 int32_t vocab_size) {
  const TokenLogProbs p_tokens = Sorted(p);
  const TokenLogProbs q_tokens = Sorted(q);
  if (p_tokens.empty() || p_tokens.size() != q_tokens.size()) {
    return absl::InternalError("the servers answered lists of different tokens");
  }
  std::vector<comparison::ListedToken> listed;
  std::vector<std::pair<double, comparison::TokenDifference>> differences;
  for (size_t i = 0; i < p_tokens.size(); ++i) {
    if (p_tokens[i].first != q_tokens[i].first) {
      return absl::InternalError("the servers answered lists of different tokens");
    }
    listed.push_back({p_tokens[i].second, q_tokens[i].second});
    const double difference =
        std::abs(comparison::ProbabilityOf(p_tokens[i].second) - comparison::ProbabilityOf(q_tokens[i].second));
    if (difference > 0) {
      differences.push_back({difference, {p_tokens[i].first, p_tokens[i].second, q_tokens[i].second}});
    }
  }
  std::stable_sort(differences.begin(), differences.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  ComparedPosition position{.token_id = p.token_id()};
  size_t side = 0;
  for (const v1::TokenRecord* record : {&p, &q}) {
    position.sides[side++] = {.top_token = record->top().token_ids(0),
                              .top_log_prob = record->top().model_log_probs(0),
                              .entropy = record->model_entropy(),
                              .log_prob = LogProbOf(*record)};
  }
  position.bounds = comparison::BoundsOf(listed, vocab_size - static_cast<int64_t>(listed.size()));
  for (size_t i = 0; i < differences.size() && i < kLargestDifferences; ++i) {
    position.largest.push_back(differences[i].second);
  }
  return position;
}

// The most likely tokens of both, and then what each gives to those of the other.
absl::Status AddBounds(Sides& sides, int32_t top_n, int32_t rows_at_once, ComparedRows& compared) {
  v1::RecordOptions record;
  record.set_top_n(top_n);
  record.set_entropy(true);
  record.set_token_bytes(false);
  for (int32_t first = 0; first < sides[0].path->length(); first += rows_at_once) {
    std::array<client::PathPiece, 2> pieces;
    for (size_t i = 0; i < 2; ++i) {
      ASSIGN_OR_RETURN(pieces[i], Records(sides[i], first, rows_at_once, record));
    }
    const std::array<client::ModelPath::Named, 2> named = {MissingFrom(pieces[1].records, pieces[0].records),
                                                           MissingFrom(pieces[0].records, pieces[1].records)};
    for (size_t i = 0; i < 2; ++i) {
      ASSIGN_OR_RETURN(pieces[i], Records(sides[i], first, rows_at_once, record, named[i]));
    }
    for (size_t i = 0; i < pieces[0].records.size(); ++i) {
      ASSIGN_OR_RETURN(ComparedPosition position,
                       BoundedPosition(pieces[0].records[i], pieces[1].records[i], sides[0].info.vocab_size()));
      compared.positions.push_back(std::move(position));
    }
  }
  return absl::OkStatus();
}

// "Log-probs move ...", where a tolerance is known.
std::string ToleranceWords(const Sides& sides) {
  double largest = 0;
  for (const ModelSide& side : sides) largest = std::max(largest, side.info.batch_tolerance_nats());
  if (largest == 0) return "";
  return absl::StrCat("A log-prob moves by up to ", largest,
                      " nats with the batch that it is computed in: smaller differences say nothing.");
}

std::string SidesJson(const Sides& sides) {
  std::vector<std::string> models;
  for (const ModelSide& side : sides) {
    models.push_back(JsonObject()
                         .Text("name", side.label)
                         .Text("server", side.address)
                         .Integer("vocab_size", side.info.vocab_size())
                         .Bytes("vocab_fingerprint", side.info.vocab_fingerprint())
                         .Json("provenance", ToJson(side.provenance))
                         .Done());
  }
  return JsonArray(models);
}

absl::StatusOr<CompareReport> CompareRows(Sides& sides, const v1::ScoreRequest& request,
                                          const v1::ScoreResponse& scored, const Pair& pair,
                                          const CompareOptions& options) {
  ASSIGN_OR_RETURN(const std::string tokenization, SetPaths(sides, request, scored, pair));
  ASSIGN_OR_RETURN(const int64_t most, MaxAlternatives(sides));
  ASSIGN_OR_RETURN(const std::vector<std::string> tokens, TokenTexts(sides[0]));
  const int32_t vocab_size = sides[0].info.vocab_size();
  ComparedRows compared{.names = {sides[0].label, sides[1].label},
                        .listed_count = options.listed_count,
                        .rule = options.rule,
                        .byte_count = scored.item().continuations(0).score().byte_count()};
  if (!tokens.empty()) {
    compared.show_token = [&tokens](int32_t id) {
      return id >= 0 && static_cast<size_t>(id) < tokens.size() ? tokens[static_cast<size_t>(id)] : absl::StrCat(id);
    };
  }
  // A row that no reply can hold is known in part.
  const bool is_too_wide = most < vocab_size;
  std::string method;
  if (!options.top_n && !is_too_wide) {
    RETURN_IF_ERROR(AddWholeRows(sides, static_cast<int32_t>(most / vocab_size), options.temperature, compared));
    method = absl::StrCat("Both have the same vocabulary of ", vocab_size,
                          " tokens. KL, JS and top-1 agreement are computed from whole rows");
    if (options.temperature != 1) absl::StrAppend(&method, ", at temperature ", options.temperature);
  } else {
    const int32_t top_n = std::min(options.top_n.value_or(kMostTopN), vocab_size);
    RETURN_IF_ERROR(AddBounds(sides, top_n, static_cast<int32_t>(std::max<int64_t>(1, most / (2 * top_n))), compared));
    method =
        absl::StrCat("Both have the same vocabulary of ", vocab_size, " tokens. KL and JS are bounds from the ", top_n,
                     " most likely tokens of each, not values", is_too_wide ? ": a reply cannot hold a whole row" : "",
                     "; KL has no upper bound from such lists. Top-1 agreement is exact");
  }
  CompareReport report = PositionsReport(compared);
  report.answers.insert(report.answers.begin(),
                        absl::StrCat(method, ". 0 is ", sides[0].label, ", 1 is ", sides[1].label, "."));
  for (const std::string& remark : {tokenization, ToleranceWords(sides)}) {
    if (!remark.empty()) report.answers.push_back(remark);
  }
  std::vector<std::string> answers;
  for (const std::string& answer : report.answers) answers.push_back(JsonText(answer));
  report.json = absl::StrCat("{\"kind\":\"models\",\"equal_vocabularies\":true,\"models\":", SidesJson(sides),
                             ",\"temperature\":", JsonNumber(options.temperature), ",", PositionsJson(compared),
                             ",\"answer\":", JsonArray(answers), "}");
  return report;
}

}  // namespace

absl::StatusOr<CompareReport> CompareModels(const Arguments& arguments, const CompareOptions& options,
                                            Session& session) {
  ASSIGN_OR_RETURN(const Pair pair, PairFrom(arguments, ComparePairFlags(), "CONTINUATION"));
  if (pair.continuations.size() != 1) {
    return UsageError("CONTINUATION", absl::StrCat(pair.continuations.size()),
                      "one continuation, where two models are compared");
  }
  v1::ScoreRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  ASSIGN_OR_RETURN(Sides sides, OpenSides(arguments, request, session));
  v1::ScoreItem& item = *request.add_items();
  *item.mutable_context() = pair.context;
  *item.add_continuations() = pair.continuations[0];
  request.set_model(sides[0].info.name());
  ASSIGN_OR_RETURN(const v1::ScoreResponse scored, client::ScoreOne(sides[0].Ask(), request));
  sides[0].provenance = scored.provenance();
  if (HaveEqualVocabularies(sides)) return CompareRows(sides, request, scored, pair, options);

  if (pair.context.has_tokens() || pair.continuations[0].has_tokens()) {
    return UsageError(pair.context.has_tokens() ? "--context-tokens" : "--continuation-tokens",
                      absl::StrCat(sides[0].info.vocab_size(), " and ", sides[1].info.vocab_size(), " tokens"),
                      "text, where the vocabularies differ: ids of one mean nothing in the other");
  }
  for (const char* flag : {"--temperature", "--top-n"}) {
    if (arguments.Has(flag)) {
      return UsageError(flag, absl::StrCat(flag, " goes with equal vocabularies: of others only bits are compared"));
    }
  }
  request.set_model(sides[1].info.name());
  ASSIGN_OR_RETURN(const v1::ScoreResponse other, client::ScoreOne(sides[1].Ask(), request));
  sides[1].provenance = other.provenance();
  return CompareBits({sides[0].label, sides[1].label}, {sides[0].info.vocab_size(), sides[1].info.vocab_size()},
                     {scored.item().continuations(0), other.item().continuations(0)}, pair.continuations[0].text(),
                     SidesJson(sides));
}

}  // namespace logitd::cli
