// The tokenisations that a candidate lists besides its own: Candidate.alternative_tokenizations.
#ifndef LOGITD_SERVER_HANDLERS_ALTERNATIVE_TOKENIZATIONS_H_
#define LOGITD_SERVER_HANDLERS_ALTERNATIVE_TOKENIZATIONS_H_

#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/continuation_scores.h"
#include "server/handlers/item_tokens.h"
#include "server/models/served_model.h"

namespace logitd::server {

// Checks that the alternatives of `candidate` are tokenisations of `own`, its tokens, and adds them to `item` as
// continuations that follow the same context. One that is too long for the model is added with its error. Errors (field
// "alternative_tokenizations[2].token_ids"): FIELD_OUT_OF_RANGE, TOKEN_ID_OUT_OF_RANGE, EMPTY_CONTINUATION,
// VOCABULARY_UNAVAILABLE; nothing is added then.
absl::Status AddAlternatives(const v1::Candidate& candidate, const ContinuationInput& own, const ServedModel& model,
                             std::vector<ContinuationInput>& added);

// Writes the log-probs of a candidate's alternatives: the continuations [first, first + their number) of `input`.
// `own`: the index of its own tokens. Returns ln of the total probability of all; unset: one has an error, or none is
// possible.
std::optional<double> TakeAlternatives(const ItemInput& input, const std::vector<ContinuationScore>& scores, size_t own,
                                       size_t first, size_t count, v1::RankedCandidate& candidate);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_ALTERNATIVE_TOKENIZATIONS_H_
