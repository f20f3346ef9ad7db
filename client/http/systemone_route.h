// POST /v1/systemone, in the form of TypeSafe's System One: questions about a state, by name.
//
//   {"state": "I was charged twice.", "questions": {"urgent": {"type": "noul", "instructions": "Is it urgent?"}}}
//   {"model": "...", "answers": {"urgent": {"type": "noul", "noul": 0.81, "x_label_mass": 0.4}},
//    "usage": {"input_tokens": 31, "output_tokens": 0}}
//
// A noul is a yes or no question, a choice has options by name, a score has levels, numbered from 0. `confidence` is 0
// if the answer tells no more than a guess, and 1 if one option has all the probability (ChoiceConfidence,
// ScoreConfidence). `x_label_mass` is the total probability of the options under the model.
#ifndef LOGITD_CLIENT_HTTP_SYSTEMONE_ROUTE_H_
#define LOGITD_CLIENT_HTTP_SYSTEMONE_ROUTE_H_

#include <span>

#include "absl/status/status.h"
#include "client/http/fields.h"
#include "client/http/services.h"

namespace logitd::http {

FieldTable SystemoneFields();
FieldTable SystemoneQuestionFields();

// (n max(p) - 1) / (n - 1), of n probabilities that add up to 1; 1 if n is 1. Range: [0, 1].
double ChoiceConfidence(std::span<const double> probabilities);

// 1 - sum_i(p_i |i - top|) / u, at least 0; `top` is the most likely level, of equal ones the first, and u is the mean
// of |i - (n - 1) / 2|. 1 if there is one level. Range: [0, 1].
double ScoreConfidence(std::span<const double> probabilities);

absl::Status HandleSystemone(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_SYSTEMONE_ROUTE_H_
