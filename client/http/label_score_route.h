// POST /v1/score in SGLang's form (vLLM's /generative_scoring asks for the same numbers): the probabilities of label
// tokens as the next token after a query and each of several items.
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

#include "absl/status/status.h"
#include "client/http/fields.h"
#include "client/http/services.h"

namespace logitd::http {

FieldTable LabelScoreFields();

absl::Status HandleLabelScore(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_LABEL_SCORE_ROUTE_H_
