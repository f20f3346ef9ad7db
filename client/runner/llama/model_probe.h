// Asks a loaded model for rows, to find out whether it predicts the next token.
//
// The keys of the file may be missing or wrong. An embedding model whose keys do not show what it is returns rows of
// zeros, after which every token would score -ln V.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_MODEL_PROBE_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_MODEL_PROBE_H_

#include <string>

#include "absl/status/status.h"
#include "llama.h"

namespace logitd::runner {

// Evaluates two tokens after two different ones. Both rows must hold finite numbers that are not all equal, and the
// rows must differ. The context's memory is empty afterwards.
// Errors: INVALID_ARGUMENT with the reason why it is not a language model, which continues "it ".
absl::Status ProbeModel(llama_context* context);

// Whether tokens can be dropped from the end of a sequence's cache. A recurrent state cannot be cut, and neither can
// some compressed caches. The context's memory is empty before and afterwards. REQUIRES: ProbeModel(context) is OK.
bool CanCutCache(llama_context* context);

// Checks that `row`, of `size` logits, can come from a language model: no NaN, no +inf, and two different finite
// values.
// Errors: as ProbeModel.
absl::Status CheckProbedRow(const float* row, int size);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_MODEL_PROBE_H_
