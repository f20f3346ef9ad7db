// POST /tokenize, /detokenize and GET /tokenizer_info, in vLLM's form: lm-evaluation-harness takes its tokenizer from
// them.
//
// Names of control tokens are parsed in texts and written in texts: the harness learns the ids of BOS and EOS by
// tokenising their names.
#ifndef LOGITD_CLIENT_HTTP_TOKENIZER_ROUTES_H_
#define LOGITD_CLIENT_HTTP_TOKENIZER_ROUTES_H_

#include "absl/status/status.h"
#include "client/http/fields.h"
#include "client/http/services.h"

namespace logitd::http {

FieldTable TokenizeFields();
FieldTable DetokenizeFields();

absl::Status HandleTokenize(Exchange& exchange, Services& services);
absl::Status HandleDetokenize(Exchange& exchange, Services& services);
// The model is the query's `model`, or the only one there is.
absl::Status HandleTokenizerInfo(Exchange& exchange, Services& services);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_TOKENIZER_ROUTES_H_
