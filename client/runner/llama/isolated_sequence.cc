// How LlamaModel evaluates an isolated sequence: in a context of its own, which is cleared when another sequence
// begins, and with a fixed number of threads. The row after a token then depends on the tokens before it alone:
//
// - The order in which a sum is added up depends on the cells of the cache that hold the tokens, and on how many cells
//   there are. Here the tokens lie in the first cells, in order.
// - It depends on the number of tokens in the batch, and on the number of rows that are computed. Every batch has
//   kIsolatedBatch tokens, the last one too, which is filled up, and the rows of all of them are computed.
// - Tokens that come after a token change nothing: their weight in its sums is exactly 0.
// - Some sums are divided among the threads.
#include <algorithm>
#include <string>

#include "client/runner/llama/context_params.h"
#include "client/runner/llama/llama_log.h"
#include "client/runner/llama/llama_model.h"
#include "client/runner/llama/llama_task.h"
#include "core/errors.h"

namespace logitd::runner {
namespace {

// Of the server: logitd.v1.SequenceWork.isolated.
constexpr int kIsolatedBatch = 64;
static_assert(kIsolatedBatch <= kChunkTokens);

}  // namespace

absl::Status LlamaModel::CreateIsolatedContext() {
  if (isolated_context_ != nullptr) return absl::OkStatus();
  TakeLastLlamaError();
  isolated_context_ = NewContext(info_.context_length(), /*sequences=*/1);
  if (isolated_context_ != nullptr) return absl::OkStatus();
  return errors::Internal("no memory for the cache of a reproducible sequence, of " +
                          std::to_string(info_.context_length()) + " tokens: " + TakeLastLlamaError());
}

void LlamaModel::EvaluateIsolated(const v1::SequenceWork& work, RowSink& sink) {
  const absl::Status created = CreateIsolatedContext();
  if (!created.ok()) return sink.Fail(0, created);
  if (work.sequence_id() != isolated_sequence_id_) {
    llama_memory_clear(llama_get_memory(isolated_context_.get()), /*data=*/false);
    isolated_sequence_id_ = work.sequence_id();
    isolated_length_ = 0;
  }
  Task task{.work_index = 0, .work = &work, .slot = 0, .begin = isolated_length_, .computes_all = true};
  const int count = work.append_token_ids_size();
  const int64_t length = isolated_length_ + count;
  if (length > info_.context_length()) {
    return FailTask(task, errors::ContextLengthExceeded("append_token_ids", length, info_.context_length()), sink);
  }
  if (count < 1 || count > kIsolatedBatch || isolated_length_ % kIsolatedBatch != 0) {
    return FailTask(task,
                    errors::OutOfRange("append_token_ids", int64_t{count},
                                       "1 to 64 tokens, and 64 in all batches of an isolated sequence but the last"),
                    sink);
  }
  isolated_length_ = length;
  // At the end of the context there are no positions to fill up with. Where that is depends on nothing else.
  task.padding = static_cast<int>(std::min<int64_t>(kIsolatedBatch - count, info_.context_length() - length));
  GiveUpIfUnwanted(task, sink);
  if (task.failed) return;
  Task* tasks[] = {&task};
  const int counts[] = {count};
  Decode(isolated_context_.get(), tasks, counts, sink);
}

}  // namespace logitd::runner
