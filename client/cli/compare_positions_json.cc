// The JSON of compared positions; docs/compare.md documents its members.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/cli/compare_continuations.h"
#include "client/cli/compare_positions.h"
#include "client/cli/duel_json.h"
#include "client/cli/json_object.h"
#include "client/comparison/aligned_bits.h"

namespace logitd::cli {
namespace {

using comparison::Bounds;
using comparison::Duel;

// {"lower":...,"upper":...}; "Infinity" as the upper end means that there is no upper bound.
std::string BoundsJson(const Bounds& bounds) {
  return JsonObject().Number("lower", bounds.lower).Number("upper", bounds.upper).Done();
}

std::string SideJson(const PositionSide& side) {
  return JsonObject()
      .Number("log_prob", side.log_prob)
      .Integer("top_token_id", side.top_token)
      .Number("top_log_prob", side.top_log_prob)
      .Number("entropy", side.entropy)
      .Done();
}

std::string PositionJson(const ComparedRows& rows, size_t i, const std::optional<Duel>& duel) {
  const ComparedPosition& at = rows.positions[i];
  JsonObject json;
  json.Integer("position", static_cast<int64_t>(i));
  if (at.token_id) json.Integer("token_id", *at.token_id);
  if (at.token_id && rows.show_token) json.Text("token", rows.show_token(*at.token_id));
  json.Json("sides", JsonArray({SideJson(at.sides[0]), SideJson(at.sides[1])}));
  if (at.token_id) json.Number("difference", duel->positions[i].difference);
  if (duel) json.Number("running_difference", duel->positions[i].sum_difference);
  if (at.divergence) {
    json.Number("kl_01", at.divergence->kl_pq)
        .Number("kl_10", at.divergence->kl_qp)
        .Number("js", at.divergence->js)
        .Number("total_variation", at.divergence->total_variation)
        .Integer("excluded_by_0_alone", at.divergence->excluded_by_p_alone)
        .Integer("excluded_by_1_alone", at.divergence->excluded_by_q_alone);
  } else {
    json.Json("kl_01_bounds", BoundsJson(at.bounds->kl_pq))
        .Json("kl_10_bounds", BoundsJson(at.bounds->kl_qp))
        .Json("js_bounds", BoundsJson(at.bounds->js))
        .Json("unlisted_probabilities", JsonNumbers({at.bounds->p_rest, at.bounds->q_rest}));
  }
  json.Bool("top_agrees", at.sides[0].top_token == at.sides[1].top_token);
  std::vector<std::string> largest;
  for (const comparison::TokenDifference& token : at.largest) {
    JsonObject difference;
    difference.Integer("token_id", token.token_id);
    if (rows.show_token) difference.Text("token", rows.show_token(token.token_id));
    largest.push_back(difference.Json("log_probs", JsonNumbers({token.p_log_prob, token.q_log_prob})).Done());
  }
  return json.Json("largest_differences", JsonArray(largest)).Done();
}

std::string MeanJson(const ComparedRows& rows) {
  const MeanDivergence mean = MeanOf(rows);
  JsonObject json;
  if (mean.is_exact) {
    json.Number("kl_01", mean.kl_01.lower)
        .Number("kl_10", mean.kl_10.lower)
        .Number("js", mean.js.lower)
        .Number("total_variation", mean.total_variation);
  } else {
    json.Json("kl_01_bounds", BoundsJson(mean.kl_01))
        .Json("kl_10_bounds", BoundsJson(mean.kl_10))
        .Json("js_bounds", BoundsJson(mean.js));
  }
  return json
      .Number("top_agreement", static_cast<double>(mean.top_agreements) / static_cast<double>(rows.positions.size()))
      .Done();
}

std::string TotalsJson(const ComparedRows& rows, const std::optional<Duel>& duel, size_t side) {
  JsonObject json;
  json.Text("name", rows.names[side]);
  if (duel) {
    const double sum = side == 0 ? duel->positions.back().first_sum : duel->positions.back().second_sum;
    json.Number("sum_log_prob", sum);
    if (rows.byte_count > 0) {
      json.Number("bits_per_byte", comparison::BitsOf(sum) / static_cast<double>(rows.byte_count));
    }
    json.Integer("positions_won", side == 0 ? duel->first_wins : duel->second_wins);
  }
  std::vector<std::string> confident;
  for (const ConfidentToken& token : ConfidentTokensOf(rows, side)) confident.push_back(ConfidentJson(token));
  return json.Json("confident_tokens", JsonArray(confident)).Done();
}

}  // namespace

std::string PositionsJson(const ComparedRows& rows) {
  const std::optional<Duel> duel = DuelOf(rows);
  std::vector<std::string> positions;
  for (size_t i = 0; i < rows.positions.size(); ++i) positions.push_back(PositionJson(rows, i, duel));
  JsonObject json;
  json.Json("sides", JsonArray({TotalsJson(rows, duel, 0), TotalsJson(rows, duel, 1)})).Json("mean", MeanJson(rows));
  if (duel) AddDuel(*duel, json);
  const std::string object = json.Json("positions", JsonArray(positions)).Done();
  return object.substr(1, object.size() - 2);
}

}  // namespace logitd::cli
