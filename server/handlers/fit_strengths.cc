#include "server/handlers/fit_strengths.h"

#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/plackett_luce.h"
#include "core/strength_fit.h"
#include "server/handlers/item_orders.h"
#include "server/handlers/provenance.h"

namespace logitd::server {
namespace {

absl::StatusOr<Ranking> RankingOf(const v1::GivenRanking& message, int32_t item_count, Ties ties) {
  Ranking ranking{.item_indices = {message.item_indices().begin(), message.item_indices().end()},
                  .others_below = message.others_below()};
  if (message.has_count()) ranking.count = message.count();
  // Before the places: a doubled item would look like a tie.
  RETURN_IF_ERROR(CheckDistinct(ranking.item_indices, item_count, "item_indices", "item"));
  if (message.places().empty()) return ranking;
  ASSIGN_OR_RETURN(ranking.item_indices, OrderOfPlaces(ranking.item_indices, ViewOf(message.places()), ties));
  return ranking;
}

}  // namespace

absl::Status FitStrengths(const v1::FitStrengthsRequest& request, const ServerEnv& env, const RequestContext& context,
                          v1::FitStrengthsResponse& response) {
  if (request.item_count() > kMaxStrengthItems) {
    return errors::AboveLimit("item_count", request.item_count(), kMaxStrengthItems, 2);
  }
  if (request.item_count() < 2) return errors::OutOfRange("item_count", int64_t{request.item_count()}, ">= 2");
  if (request.rankings_size() > kMaxRankings) {
    return errors::AboveLimit("rankings", request.rankings_size(), kMaxRankings, 1);
  }
  const Ties ties = request.ties() == v1::ORDER_TIES_BY_INDEX ? Ties::kByIndex : Ties::kRefuse;
  std::vector<Ranking> rankings;
  rankings.reserve(static_cast<size_t>(request.rankings_size()));
  for (int i = 0; i < request.rankings_size(); ++i) {
    absl::StatusOr<Ranking> ranking = RankingOf(request.rankings(i), request.item_count(), ties);
    if (!ranking.ok()) return In(Element("rankings", i, "."), ranking.status());
    rankings.push_back(*std::move(ranking));
  }
  ASSIGN_OR_RETURN(const FitSlots::Lease slot, env.fits.Take(context));
  ASSIGN_OR_RETURN(const StrengthFit fit,
                   logitd::FitStrengths(request.item_count(), rankings, [&context] { return context.Check(); }));
  response.mutable_log_strengths()->Add(fit.log_strengths.begin(), fit.log_strengths.end());
  response.mutable_standard_errors()->Add(fit.standard_errors.begin(), fit.standard_errors.end());
  response.set_log_likelihood(fit.log_likelihood);
  response.set_equal_log_likelihood(fit.equal_log_likelihood);
  response.set_mm_step_count(fit.mm_step_count);
  response.set_newton_step_count(fit.newton_step_count);
  response.set_last_newton_step(fit.last_newton_step);
  *response.mutable_provenance() = ProvenanceWithoutModel();
  return absl::OkStatus();
}

}  // namespace logitd::server
