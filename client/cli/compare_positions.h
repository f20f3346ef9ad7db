// Two distributions at each of some positions: those of two models along one continuation, or of two files of rows.
// Their divergences as sentences, tables, plots and JSON.
//
//   ComparedRows rows{.names = {"model a", "model b"}};
//   rows.positions.push_back({...});
//   CompareReport report = PositionsReport(rows);
//   report.json = "{\"kind\":\"models\"," + PositionsJson(rows) + "}";
//
// Memory: one ComparedPosition for each position, without its rows. One thread.
#ifndef LOGITD_CLIENT_CLI_COMPARE_POSITIONS_H_
#define LOGITD_CLIENT_CLI_COMPARE_POSITIONS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/compare_report.h"
#include "client/cli/compare_words.h"
#include "client/comparison/confident_token.h"
#include "client/comparison/divergence_bounds.h"
#include "client/comparison/row_divergence.h"
#include "client/comparison/token_duel.h"

namespace logitd::cli {

// The tokens with the largest differences that a position keeps.
inline constexpr int kLargestDifferences = 3;

// One of the two distributions at a position.
struct PositionSide {
  int32_t top_token = 0;
  // nats, as `entropy`.
  double top_log_prob = 0;
  double entropy = 0;
  // ln p of the given token; -inf: excluded. Unset: no token is given.
  std::optional<double> log_prob = std::nullopt;
};

struct ComparedPosition {
  // The token that stands there. Unset: none is given.
  std::optional<int32_t> token_id = std::nullopt;
  std::array<PositionSide, 2> sides = {};
  // Exactly one of the two is set: whole rows are known, or only some tokens of each.
  std::optional<comparison::RowDivergence> divergence = std::nullopt;
  std::optional<comparison::DivergenceBounds> bounds = std::nullopt;
  // At most kLargestDifferences, largest first.
  std::vector<comparison::TokenDifference> largest = {};
};

struct ComparedRows {
  std::array<std::string, 2> names;
  // Position i is the i-th.
  std::vector<ComparedPosition> positions = {};
  // The positions that tables list, those that differ most; >= 1.
  int32_t listed_count = 64;
  comparison::ConfidenceRule rule = {};
  // How a token is shown. Empty: by its id.
  std::function<std::string(int32_t)> show_token = nullptr;
  // Bytes of the given tokens, for bits per byte. 0: not known.
  int64_t byte_count = 0;
};

CompareReport PositionsReport(const ComparedRows& rows);
// The members of a JSON object, without its braces: names, vocabulary-independent sums, means, positions.
std::string PositionsJson(const ComparedRows& rows);

// JS, or its lower bound.
double JsOf(const ComparedPosition& position);
// The comparison of the given tokens' log-probs. Positions without a token have none. Unset: no token is given.
std::optional<comparison::Duel> DuelOf(const ComparedRows& rows);

// Means over all positions, nats; KL may be +inf. Of bounds: of their lower and upper ends.
struct MeanDivergence {
  comparison::Bounds kl_01;
  comparison::Bounds kl_10;
  comparison::Bounds js;
  double total_variation = 0;
  int32_t top_agreements = 0;
  // Every position has whole rows, so lower and upper ends are equal.
  bool is_exact = true;
};
MeanDivergence MeanOf(const ComparedRows& rows);

// The tokens at which model `side` was confident of another one.
std::vector<ConfidentToken> ConfidentTokensOf(const ComparedRows& rows, size_t side);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPARE_POSITIONS_H_
