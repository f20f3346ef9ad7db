// best_of in Generate: which completions are the best.
#ifndef LOGITD_SERVER_HANDLERS_BEST_COMPLETIONS_H_
#define LOGITD_SERVER_HANDLERS_BEST_COMPLETIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/ranker.h"
#include "core/vocabulary.h"
#include "logitd/v1/generation_service.pb.h"

namespace logitd::server {

// The value by which completions are compared.
struct BestBy {
  Normalization by = Normalization::kPerToken;
  // Set for kGnmt, [0, 10].
  std::optional<double> gnmt_alpha = std::nullopt;
};

// The value by which the request's completions are compared. Unset: best_of is.
// Errors: FIELD_REQUIRED of best_of, best_by or gnmt_alpha; FIELD_OUT_OF_RANGE of best_by, gnmt_alpha or
// record.model_log_prob; VOCABULARY_UNAVAILABLE if the value needs the tokens' bytes.
absl::StatusOr<std::optional<BestBy>> BestByOf(const v1::GenerateRequest& request, const std::string& model,
                                               const Vocabulary& vocabulary);

// Leaves the `count` best of the completions, best first: by value, those without one behind them, those that failed
// last; equals in their order. REQUIRES: count <= their number.
void KeepBest(const BestBy& by, int32_t count, google::protobuf::RepeatedPtrField<v1::Completion>& completions);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_BEST_COMPLETIONS_H_
