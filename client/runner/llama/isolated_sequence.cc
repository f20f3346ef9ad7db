// How LlamaModel evaluates an isolated sequence: in a context of its own, which is cleared when another sequence
// begins, and with a fixed number of threads. Its rows then depend on the sequence alone:
//
// - The order in which a sum is added up depends on the other tokens of the batch, on the cells of the cache that hold
//   the tokens, and on how many cells there are. Here the tokens of one sequence lie in the first cells, in order.
// - Some sums are divided among the threads.
#include <algorithm>
#include <string>

#include "client/runner/llama/context_params.h"
#include "client/runner/llama/llama_log.h"
#include "client/runner/llama/llama_model.h"
#include "client/runner/llama/llama_task.h"
#include "core/errors.h"

namespace logitd::runner {

absl::Status LlamaModel::CreateIsolatedContext() {
  if (isolated_context_ != nullptr) return absl::OkStatus();
  TakeLastLlamaError();
  if (cache_.isolated_cells > 0) isolated_context_ = NewContext(cache_.isolated_cells, /*sequences=*/1);
  if (isolated_context_ != nullptr) return absl::OkStatus();
  return absl::ResourceExhaustedError("no memory for the cache of an isolated sequence: " + TakeLastLlamaError());
}

void LlamaModel::EvaluateIsolated(const v1::SequenceWork& work, RowSink& sink) {
  const absl::Status created = CreateIsolatedContext();
  if (!created.ok()) return sink.Fail(0, created);
  if (work.sequence_id() != isolated_sequence_id_) {
    llama_memory_clear(llama_get_memory(isolated_context_.get()), /*data=*/false);
    isolated_sequence_id_ = work.sequence_id();
    isolated_length_ = 0;
  }
  Task task{.work_index = 0, .work = &work, .slot = 0, .begin = isolated_length_};
  const int count = work.append_token_ids_size();
  const int64_t length = isolated_length_ + count;
  if (length > info_.context_length()) {
    return FailTask(task, errors::ContextLengthExceeded("append_token_ids", length, info_.context_length()), sink);
  }
  if (length > cache_.isolated_cells) {
    return FailTask(task,
                    errors::LimitExceeded("append_token_ids", length,
                                          "at most " + std::to_string(cache_.isolated_cells) +
                                              " tokens, the runner's room for a reproducible sequence",
                                          "isolated_cells"),
                    sink);
  }
  isolated_length_ = length;
  Task* tasks[] = {&task};
  while (!task.failed && task.done < count) {
    GiveUpIfUnwanted(task, sink);
    if (task.failed) return;
    const int counts[] = {std::min(kChunkTokens, count - task.done)};
    Decode(isolated_context_.get(), tasks, counts, sink);
  }
}

}  // namespace logitd::runner
