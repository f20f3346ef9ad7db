// The probabilities of orders of an item of Rank: of the returned one, and of one that the caller gives.
#ifndef LOGITD_SERVER_HANDLERS_ITEM_ORDERS_H_
#define LOGITD_SERVER_HANDLERS_ITEM_ORDERS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/repeated_field.h"
#include "logitd/v1/plackett_luce.pb.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::server {

// The order.top_k of a request; unset: it has none. Errors: FIELD_OUT_OF_RANGE.
absl::StatusOr<std::optional<int32_t>> TopCountOf(const v1::RankRequest& request);

// The indices of a message; lives as long as they do.
inline std::span<const int32_t> ViewOf(const google::protobuf::RepeatedField<int32_t>& indices) {
  return {indices.data(), static_cast<size_t>(indices.size())};
}

// ORDER_INVALID of an item's given_order that is not an order of all its candidates. None is fine. `field`: the item's
// path.
absl::Status CheckGivenOrder(const v1::RankItem& item, const std::string& field);

// `order`: distinct candidates, best first. Shapes: log_strengths [candidates]; unset for a candidate with an error,
// -inf for one that is not possible. Unset: no candidate of the order is possible.
std::optional<v1::OrderProbability> ProbabilityOf(std::span<const int32_t> order,
                                                  std::span<const std::optional<double>> log_strengths,
                                                  std::optional<int32_t> top_count);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_ITEM_ORDERS_H_
