#include "client/cli/duel_json.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace logitd::cli {

void AddDuel(const comparison::Duel& duel, JsonObject& json) {
  const auto add_winner = [&](const char* name, comparison::Side side) {
    if (side != comparison::Side::kNone) json.Integer(name, side == comparison::Side::kFirst ? 0 : 1);
  };
  add_winner("token_winner", duel.token_winner);
  add_winner("total_winner", duel.total_winner);
  json.Number("total_margin", duel.total_margin);
  if (duel.lead_lost_at) json.Integer("lead_lost_at", *duel.lead_lost_at);
  std::vector<std::string> deciding;
  for (const int32_t position : duel.deciding_positions) deciding.push_back(absl::StrCat(position));
  json.Json("deciding_positions", JsonArray(deciding));
}

}  // namespace logitd::cli
