// An entry of the batch that a LlamaModel evaluates.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_TASK_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_TASK_H_

#include <cstdint>

#include "client/runner/llama/llama_model.h"

namespace logitd::runner {

struct LlamaModel::Task {
  int work_index = 0;
  const v1::SequenceWork* work = nullptr;
  int slot = 0;
  // Position of the first appended token.
  int64_t begin = 0;
  // Appended tokens that have been evaluated.
  int done = 0;
  bool failed = false;
  // Compute the rows of all tokens, whether they are wanted or not.
  bool computes_all = false;
  // Tokens after the entry's own, which take up room in the batch. Their rows are computed too, and nobody gets them.
  int padding = 0;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_TASK_H_
