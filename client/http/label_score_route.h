// POST /v1/score in SGLang's form: the probabilities of label tokens as the next token after a query and each of
// several items.
//
//   {"query": "Is this positive? ", "items": ["Good.", "Bad."], "label_token_ids": [9891, 2249], "apply_softmax": true}
//   {"object": "scoring", "model": "...", "scores": [[0.93, 0.07], [0.11, 0.89]], "label_mass": [0.41, 0.38], "usage":
//   ...}
//
// apply_softmax false: the probabilities under the model. True: softmax of the log-probs over the labels, at
// `temperature`. label_mass is the total probability of the labels under the model: if it is small, the model would
// rather have said something else.
#ifndef LOGITD_CLIENT_HTTP_LABEL_SCORE_ROUTE_H_
#define LOGITD_CLIENT_HTTP_LABEL_SCORE_ROUTE_H_

#include <cstddef>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/http/fields.h"
#include "client/http/services.h"
#include "client/http/strict_json.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::http {

FieldTable LabelScoreFields();

// The fields `query` and `items` of a request, which outlives them.
struct QueryAndItems {
  const Json& query;
  // A list.
  const Json& items;
};

// Errors: a field that is missing or no list; more than 4096 items; more text, or more labels for all items together,
// than the server takes. `label_count` is that of an item.
absl::StatusOr<QueryAndItems> QueryAndItemsOf(FieldReader& fields, size_t label_count);

// With softmax: among the labels; unset if none is possible. Without: under the model.
std::optional<double> LabelProbability(const v1::DecidedOption& option, bool apply_softmax);

absl::Status HandleLabelScore(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_LABEL_SCORE_ROUTE_H_
