// POST /generative_scoring in vLLM's form: the probability of the first of several label tokens as the next token after
// a query and each of several items.
//
//   {"query": "Is this positive? ", "items": ["Good.", "Bad."], "label_token_ids": [9891, 2249]}
//   {"id": "generative-scoring-...", "object": "list", "created": ..., "model": "...",
//    "data": [{"index": 0, "object": "score", "score": 0.93, "label_mass": 0.41}, ...], "usage": ...}
//
// apply_softmax true (the default): among the labels alone. False: under the model. As vLLM does, query and item become
// tokens each by itself, and the labels are a set. label_score_route.h has the probabilities of all labels.
#ifndef LOGITD_CLIENT_HTTP_GENERATIVE_SCORING_ROUTE_H_
#define LOGITD_CLIENT_HTTP_GENERATIVE_SCORING_ROUTE_H_

#include "absl/status/status.h"
#include "client/http/fields.h"
#include "client/http/services.h"

namespace logitd::http {

FieldTable GenerativeScoringFields();

absl::Status HandleGenerativeScoring(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_GENERATIVE_SCORING_ROUTE_H_
