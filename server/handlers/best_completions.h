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

// The value by which the request's completions are compared. Unset: best_of is.
// Errors: FIELD_REQUIRED of best_of; FIELD_OUT_OF_RANGE of best_by, or of record.model_log_prob; VOCABULARY_UNAVAILABLE
// if the value needs the tokens' bytes.
absl::StatusOr<std::optional<Normalization>> BestByOf(const v1::GenerateRequest& request, const std::string& model,
                                                      const Vocabulary& vocabulary);

// Leaves the `count` best of the completions, best first: by value, those without one behind them, those that failed
// last; equals in their order. REQUIRES: count <= their number.
void KeepBest(Normalization by, int32_t count, google::protobuf::RepeatedPtrField<v1::Completion>& completions);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_BEST_COMPLETIONS_H_
