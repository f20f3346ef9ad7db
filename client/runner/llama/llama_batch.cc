// How LlamaModel evaluates a batch: entries are set up (copied and cut), and then their tokens are evaluated in chunks
// of kChunkTokens, in the order of the work. Example with chunks of 4 and entries of 3, 3 and 1 tokens:
//
//   chunk 1   a0 a1 a2 b0
//   chunk 2   b1 b2 c0
#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/runner/llama/context_params.h"
#include "client/runner/llama/llama_log.h"
#include "client/runner/llama/llama_model.h"
#include "client/runner/llama/llama_task.h"
#include "client/runner/sequence_work.h"
#include "core/errors.h"

namespace logitd::runner {

void LlamaModel::Evaluate(const v1::RunBatch& batch, RowSink& sink) {
  for (int64_t sequence_id : batch.release_sequence_ids()) Drop(sequence_id);
  if (batch.work_size() == 1 && batch.work(0).isolated()) {
    EvaluateIsolated(batch.work(0), sink);
    return;
  }

  // All entries are set up before any is extended, except forks of tokens that this batch evaluates.
  const std::vector<int> waits_for =
      ForksThatWait(batch, [this](int64_t id) -> int64_t { return ledger_.SlotOf(id) ? ledger_.LengthOf(id) : 0; });
  std::vector<std::optional<absl::Status>> set_up(waits_for.size());
  const auto set_up_after = [&](int source) {
    for (size_t i = 0; i < waits_for.size(); ++i) {
      if (waits_for[i] == source) set_up[i] = SetUp(batch.work(static_cast<int>(i)));
    }
  };
  set_up_after(-1);

  // Entry after entry, so that rows come in the order of the work. As many entries as fit are evaluated together.
  std::vector<Task> tasks;
  tasks.reserve(waits_for.size());
  std::vector<Task*> chunk;
  std::vector<int> counts;
  int room = kChunkTokens;
  const auto flush = [&] {
    if (!chunk.empty()) Decode(context_.get(), chunk, counts, sink);
    chunk.clear();
    counts.clear();
    room = kChunkTokens;
  };
  for (int i = 0; i < batch.work_size(); ++i) {
    const v1::SequenceWork& work = batch.work(i);
    if (!set_up[i]) {
      flush();
      set_up_after(waits_for[i]);
    }
    absl::Status status = *set_up[i];
    const std::optional<int> slot = ledger_.SlotOf(work.sequence_id());
    const int64_t begin = slot ? ledger_.LengthOf(work.sequence_id()) : 0;
    if (status.ok()) status = Reserve(work);
    if (!status.ok()) {
      sink.Fail(i, status);
      Drop(work.sequence_id());
      continue;
    }
    Task& task = tasks.emplace_back(Task{.work_index = i, .work = &work, .slot = *slot, .begin = begin});
    int planned = 0;
    GiveUpIfUnwanted(task, sink);
    while (!task.failed && planned < work.append_token_ids_size()) {
      const int count = std::min(room, work.append_token_ids_size() - planned);
      chunk.push_back(&task);
      counts.push_back(count);
      planned += count;
      room -= count;
      if (room > 0) continue;
      flush();
      GiveUpIfUnwanted(task, sink);
    }
  }
  flush();
}

absl::Status LlamaModel::SetUp(const v1::SequenceWork& work) {
  llama_memory_t memory = llama_get_memory(context_.get());
  const int64_t id = work.sequence_id();
  std::optional<int> slot = ledger_.SlotOf(id);
  const bool is_new = !slot.has_value();
  if (work.has_fork_from_sequence_id() && !is_new) return errors::SequenceAlreadyOpen(id);
  std::optional<int> source;
  if (work.has_fork_from_sequence_id()) {
    source = ledger_.SlotOf(work.fork_from_sequence_id());
    if (!source) return errors::SequenceNotOpen("fork_from_sequence_id", work.fork_from_sequence_id());
  }
  const int64_t length = source ? ledger_.LengthOf(work.fork_from_sequence_id()) : is_new ? 0 : ledger_.LengthOf(id);
  const int64_t keep = work.has_keep_prefix_length() ? work.keep_prefix_length() : length;
  if (keep > length) return errors::OutOfRange("keep_prefix_length", keep, "[0, " + std::to_string(length) + "]");

  if (is_new) {
    slot = ledger_.Open(id);
    if (!slot)
      return errors::Overloaded("sequences have a cache", cache_.sequences,
                                {"capacity.max_sequences", cache_.sequences},
                                /*retry_after_ms=*/100);
  }
  if (source) {
    llama_memory_seq_cp(memory, *source, *slot, -1, -1);
    ledger_.Share(work.fork_from_sequence_id(), id, length);
  }
  if (keep < length) {
    if (!llama_memory_seq_rm(memory, *slot, static_cast<llama_pos>(keep), -1)) {
      return errors::Internal("this model's cache cannot be cut");
    }
    ledger_.Trim(id, keep);
  }
  return absl::OkStatus();
}

absl::Status LlamaModel::Reserve(const v1::SequenceWork& work) {
  const int64_t count = work.append_token_ids_size();
  const int64_t length = ledger_.LengthOf(work.sequence_id()) + count;
  if (length > info_.context_length()) {
    return errors::ContextLengthExceeded("append_token_ids", length, info_.context_length());
  }
  if (!ledger_.Append(work.sequence_id(), count)) return errors::KvCacheFull(ledger_.used_cells(), ledger_.max_cells());
  return absl::OkStatus();
}

void LlamaModel::GiveUpIfUnwanted(Task& task, RowSink& sink) {
  if (task.failed) return;
  if (const absl::Status wanted = sink.CheckWanted(task.work_index); !wanted.ok()) FailTask(task, wanted, sink);
}

void LlamaModel::FailTask(Task& task, const absl::Status& error, RowSink& sink) {
  task.failed = true;
  sink.Fail(task.work_index, error);
  Drop(task.work->sequence_id());
}

bool LlamaModel::ShouldAbort() const {
  return interrupted_ ||
         (!evaluated_.empty() && std::all_of(evaluated_.begin(), evaluated_.end(), [this](int work_index) {
           return !evaluated_for_->CheckWanted(work_index).ok();
         }));
}

void LlamaModel::Decode(llama_context* context, std::span<Task*> tasks, std::span<const int> counts, RowSink& sink) {
  struct BatchDeleter {
    void operator()(llama_batch* batch) const {
      llama_batch_free(*batch);
      delete batch;
    }
  };
  std::unique_ptr<llama_batch, BatchDeleter> batch(new llama_batch(llama_batch_init(kChunkTokens, 0, 1)));
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Task& task = *tasks[i];
    for (int j = task.done; j < task.done + counts[i] + task.padding; ++j) {
      const int k = batch->n_tokens++;
      batch->token[k] = task.work->append_token_ids(std::min(j, task.work->append_token_ids_size() - 1));
      batch->pos[k] = static_cast<llama_pos>(task.begin + j);
      batch->n_seq_id[k] = 1;
      batch->seq_id[k][0] = task.slot;
      batch->logits[k] = task.computes_all || WantsRow(*task.work, j) ? 1 : 0;
    }
  }

  TakeLastLlamaError();
  int result = 2;
  if (!interrupted_) {
    QuietLlamaLog quiet;
    evaluated_for_ = &sink;
    for (const Task* task : tasks) evaluated_.push_back(task->work_index);
    const bool adapts = free_cpus_ && context == context_.get();
    if (adapts) {
      const int threads = free_cpus_->Begin();
      llama_set_n_threads(context, threads, threads);
    }
    result = llama_decode(context, *batch);
    if (adapts) free_cpus_->End();
    evaluated_.clear();
  }
  absl::Status status;
  if (result == 2) {
    status = errors::Cancelled();
  } else if (result == 1) {
    status = errors::KvCacheFull(ledger_.used_cells(), ledger_.max_cells());
  } else if (result != 0) {
    status = errors::Internal("llama_decode returned " + std::to_string(result) + ": " + TakeLastLlamaError());
  }
  int k = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    Task& task = *tasks[i];
    for (int j = 0; status.ok() && j < counts[i]; ++j, ++k) {
      if (!WantsRow(*task.work, task.done + j)) continue;
      const float* row = llama_get_logits_ith(context, k);
      if (row == nullptr) {
        status = errors::Internal("llama.cpp returned no logits for a token that it evaluated");
        break;
      }
      sink.AddRow(task.work_index, LogitsView(row, static_cast<size_t>(info_.vocab_size())));
    }
    task.done += counts[i];
    if (!status.ok()) {
      // If the evaluation was stopped because the server no longer waits, the entry's own error says why.
      const absl::Status wanted = result == 2 ? sink.CheckWanted(task.work_index) : absl::OkStatus();
      FailTask(task, wanted.ok() ? status : wanted, sink);
    }
  }
}

void LlamaModel::Drop(int64_t sequence_id) {
  if (sequence_id == isolated_sequence_id_) isolated_sequence_id_ = 0;
  const std::optional<int> slot = ledger_.SlotOf(sequence_id);
  if (!slot) return;
  llama_memory_seq_rm(llama_get_memory(context_.get()), *slot, -1, -1);
  ledger_.Close(sequence_id);
}

}  // namespace logitd::runner
