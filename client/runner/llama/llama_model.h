// A GGUF model on llama.cpp, on the CPU, as a runner's Model.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<LlamaModel> model, LlamaModel::Load({.file = "model.gguf", ...}));
//   absl::Status status = ServeModel(options, *model, stop_token);
//
// There is one llama_context with one unified cache: a fork only marks cells as shared, and every sequence may use the
// whole context length. Threads: as Model says.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_MODEL_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_MODEL_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/runner/cache_ledger.h"
#include "client/runner/llama/free_cpus.h"
#include "client/runner/llama/llama_weights.h"
#include "client/runner/llama/memory_budget.h"
#include "client/runner/llama/tokenizer_client.h"
#include "client/runner/model_runner.h"
#include "llama.h"

namespace logitd::runner {

struct LlamaOptions {
  std::string file;
  // The name that clients use.
  std::string name;
  Precision precision = Precision::kF32;
  std::string cache_dir;
  // Computing threads. 0: one for each CPU that other programs leave free, at least one, and at most this process's
  // part of the CPUs that it may use.
  int threads = 0;
  // Runners that share those CPUs, this one included.
  int cpu_sharers = 1;
  // Tokens in all caches together. 0: as many as the memory holds, at most twice the context length.
  int64_t cache_tokens = 0;
  // Sequences with a cache at once, at most kMaxSequences. 0: kMaxSequences, or fewer for a recurrent model in little
  // memory.
  int max_sequences = 0;
  // Bytes of memory for all runners that share it, measured before the first of them began. 0: the memory that is
  // available.
  int64_t memory = 0;
  // Runners that share that memory, this one included.
  int memory_sharers = 1;
  // The longest sequence. 0: the length that the model was trained with.
  int32_t context_length = 0;
  // The program of the tokenizer's processes: logitd-llama, started once more. /proc/self/exe is this program.
  std::string tokenizer_program = "/proc/self/exe";
};

class LlamaModel : public Model {
 public:
  // Errors: one line each, for people, which names the file or flag and says what to do.
  static absl::StatusOr<std::unique_ptr<LlamaModel>> Load(const LlamaOptions& options);

  v1::ModelInfo Info() const override { return info_; }
  v1::RunnerCapabilities Capabilities() const override;
  v1::RunnerCapacity Capacity() const override;
  std::optional<v1::RunnerPlatform> Platform() const override;
  v1::Vocabulary Vocabulary() const override { return vocabulary_; }

  void Evaluate(const v1::RunBatch& batch, RowSink& sink) override;
  void Interrupt() override { interrupted_ = true; }

  absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text, const TokenizeOptions& options) override;
  std::vector<int64_t> TextLanes() const override;
  // As Model, in the tokenizer's processes. Errors: as TokenizerClient::Tokenize.
  absl::StatusOr<std::vector<TokenId>> TokenizeInLane(const std::string& text, const TokenizeOptions& options,
                                                      const TextTask& task) override;
  absl::StatusOr<v1::RenderChatResult> RenderChat(const v1::Chat& chat, const TextTask& task) override;
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) override;

 private:
  struct ModelDeleter {
    void operator()(llama_model* model) const { llama_model_free(model); }
  };
  struct ContextDeleter {
    void operator()(llama_context* context) const { llama_free(context); }
  };
  // An entry of the batch that is being evaluated.
  struct Task;

  LlamaModel(std::unique_ptr<llama_model, ModelDeleter> model, const CacheChoice& cache);

  absl::Status CreateContext(const LlamaOptions& options, bool f32);
  void DescribeModel(const LlamaOptions& options, const Weights& weights);
  absl::Status StartTokenizer(const LlamaOptions& options);
  // `path`: the weights' file.
  void ReadVocabulary(const std::string& path);
  // Called last, because its cache key needs the model's description. `load_begin`: a tenth of the time since then may
  // be spent.
  void MeasureTolerance(const std::string& cache_dir, std::chrono::steady_clock::time_point load_begin);
  // One line that tells the user about the precision.
  std::string PrecisionNotice(const std::string& file, const Weights& weights) const;

  // Copies and cuts the sequence, so that it is ready for its new tokens.
  absl::Status SetUp(const v1::SequenceWork& work);
  absl::Status Reserve(const v1::SequenceWork& work);
  // Evaluates one chunk in that context and hands out its rows. REQUIRES: at most kChunkTokens tokens.
  void Decode(llama_context* context, std::span<Task*> tasks, std::span<const int> counts, RowSink& sink);
  // Evaluates the entry of an isolated sequence; isolated_sequence.cc.
  void EvaluateIsolated(const v1::SequenceWork& work, RowSink& sink);
  // Makes isolated_context_ if there is none yet.
  absl::Status CreateIsolatedContext();
  // Unset: no memory for it.
  std::unique_ptr<llama_context, ContextDeleter> NewContext(int64_t cells, int sequences);
  void GiveUpIfUnwanted(Task& task, RowSink& sink);
  void FailTask(Task& task, const absl::Status& error, RowSink& sink);
  // Whether the server no longer waits for anything that llama.cpp is computing. Called by llama.cpp's threads.
  bool ShouldAbort() const;
  void Drop(int64_t sequence_id);

  std::unique_ptr<llama_model, ModelDeleter> model_;
  std::unique_ptr<llama_context, ContextDeleter> context_;
  // For isolated sequences; null until the first of them.
  std::unique_ptr<llama_context, ContextDeleter> isolated_context_;
  // The sequence that is in it, and its length in tokens. 0: none.
  int64_t isolated_sequence_id_ = 0;
  int64_t isolated_length_ = 0;
  // Threads that compute at most; the isolated ones always.
  int threads_ = 1;
  bool is_f32_ = false;
  // Tokens can be dropped from the end of a sequence's cache.
  bool can_cut_ = false;
  const llama_vocab* vocab_ = nullptr;
  const CacheChoice cache_;
  CacheLedger ledger_;
  // Unset: the number of threads is fixed.
  std::optional<FreeCpus> free_cpus_;
  v1::ModelInfo info_;
  v1::Vocabulary vocabulary_;
  std::unique_ptr<TokenizerClient> tokenizer_;
  // The tokenizer puts a space before every text, as SentencePiece does. Detokenize removes it again.
  bool adds_space_prefix_ = false;
  bool tokens_spell_text_ = false;
  std::atomic<bool> interrupted_ = false;
  // While llama.cpp computes: the batch's entries in the computation, and the sink that they belong to.
  std::vector<int> evaluated_;
  const RowSink* evaluated_for_ = nullptr;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_MODEL_H_
