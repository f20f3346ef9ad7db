// Asks a loaded model for rows, to find out whether it predicts the next token.
//
// The file's keys may say nothing, or something wrong: an embedding model whose keys do not show it gives rows of
// zeros, after which every token would score -ln V.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_MODEL_PROBE_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_MODEL_PROBE_H_

#include <string>

#include "absl/status/status.h"
#include "llama.h"

namespace logitd::runner {

// Evaluates two tokens after two different ones. Both rows must have numbers that are finite and not all equal, and
// they must differ. The context's memory is empty afterwards.
// Errors: INVALID_ARGUMENT, why it is no language model, as it continues "it ".
absl::Status ProbeModel(llama_context* context);

// Whether `row`, of `size` logits, can be one of a language model: no NaN, no +inf, and two different finite values.
// Errors: INVALID_ARGUMENT, as above.
absl::Status CheckProbedRow(const float* row, int size);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_MODEL_PROBE_H_
