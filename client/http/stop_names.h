// Names of control tokens among the texts of `stop`.
//
//   stop ["\n\n", "<|im_end|>"]    stop strings "\n\n" and "<|im_end|>", and the stop token 2, whose name the latter is
//
// A control token has no text, so a completion's text never has its name because the model chose it. Without the stop
// token such a stop would be ignored without a word.
#ifndef LOGITD_CLIENT_HTTP_STOP_NAMES_H_
#define LOGITD_CLIENT_HTTP_STOP_NAMES_H_

#include "absl/status/status.h"
#include "client/http/model_facts.h"
#include "client/http/services.h"
#include "logitd/v1/generation_service.pb.h"

namespace logitd::http {

// Adds the stop tokens of a model with these names. Errors: invalid_value, naming the stop, for a text that has a name
// and more: the rest of it would have to stand beside a token without text. A text that begins with the name of an end
// token of `model` is none: the completion ends there anyway.
absl::Status AddNamedStops(const TokenNames& names, const v1::ModelInfo& model, v1::StopCriteria& stop);

// The same with the names of the model that the request means; nothing is asked for if there is no stop text. Errors:
// also those of ModelFacts.
absl::Status AddNamedStops(Services& services, const Caller& caller, v1::GenerateRequest& request);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_STOP_NAMES_H_
