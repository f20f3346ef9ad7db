// A runner's access to its tokenizer's processes (vocabulary_process.h). It starts them, hands texts to them and
// outlives them.
//
//   ASSIGN_OR_RETURN(auto tokenizer, TokenizerClient::Start({.program = ..., .model_file = ..., .lanes = ...}));
//   absl::StatusOr<std::vector<TokenId>> ids = tokenizer->Tokenize(text, /*parse_special_tokens=*/false, task);
//
// Each lane has one worker, which has one text at a time, so that the text which ends a worker is known. Workers are
// forked when they are first needed. Thread-safe; texts of one lane wait for each other.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_TOKENIZER_CLIENT_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_TOKENIZER_CLIENT_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/runner/model_runner.h"
#include "core/types.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

// The limits of one lane's worker.
struct TokenizerLane {
  // Added to the runner's nice value.
  int nice = 0;
  // CPU time that a text may take: cpu_time, plus cpu_time_per_byte for each of its bytes.
  std::chrono::milliseconds cpu_time{0};
  std::chrono::nanoseconds cpu_time_per_byte{0};
};

struct TokenizerClientOptions {
  // logitd-llama.
  std::string program;
  std::string model_file;
  // At least one. A text that takes longer than its lane allows is ABORTED, so that the next lane takes it. In the last
  // lane it is refused.
  std::vector<TokenizerLane> lanes;
};

class TokenizerClient {
 public:
  // Starts the vocabulary process and waits until it has loaded.
  // Errors: one line, for people.
  static absl::StatusOr<std::unique_ptr<TokenizerClient>> Start(TokenizerClientOptions options);
  ~TokenizerClient();
  TokenizerClient(const TokenizerClient&) = delete;
  TokenizerClient& operator=(const TokenizerClient&) = delete;

  int32_t vocab_size() const { return vocab_size_; }
  // The model has a chat template that can be used.
  bool has_chat_template() const { return has_chat_template_; }

  // Returns the text's tokens, without special tokens around them. Blocks. If the worker ends, by whatever signal, the
  // text is tried once more.
  // Errors:
  // - TOKENIZER_FAILED: both workers ended, or the text exceeded the last lane's time.
  // - ABORTED, without a reason: the text takes longer than this lane allows.
  // - Those of task.check_wanted.
  // - MALFORMED_MESSAGE.
  // - INTERNAL: no worker can be started.
  // REQUIRES: 0 <= task.lane < number of lanes; the text has at most kMaxTextBytes bytes.
  absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text, bool parse_special_tokens,
                                                const TextTask& task);

  // Renders a conversation; `call_id` stays unset. Blocks, in the lane of a text of the same size.
  // Errors: as Tokenize, with CHAT_TEMPLATE_FAILED (also in the place of TOKENIZER_FAILED) and LIMIT_EXCEEDED.
  // REQUIRES: has_chat_template(); the conversation has at most kMaxTextBytes bytes.
  absl::StatusOr<v1::RenderChatResult> RenderChat(const v1::Chat& chat, const TextTask& task);

 private:
  struct Worker;
  // How a worker's turn with one text ended.
  enum class End { kAnswered, kGone, kTooLong, kNotWanted };
  struct Turn;

  explicit TokenizerClient(TokenizerClientOptions options);

  absl::Status StartVocabularyProcess();
  void StopVocabularyProcess();
  // Sends one command and returns the answer. Unset: the vocabulary process is gone.
  std::optional<int32_t> Ask(int32_t kind, int32_t argument, int passed_fd);
  absl::Status StartWorker(Worker& worker, int nice);
  // Ends the worker if it runs. Returns how it ended, for people.
  std::string EndWorker(Worker& worker);
  // Gives the worker of the task's lane a question. Returns the answer's bytes. `kind`: of QuestionHeader; `failed`:
  // the error if the question ends its workers or takes too long; `most`: bytes of the longest answer.
  absl::StatusOr<std::string> Answer(uint32_t kind, const std::string& question, size_t most, const TextTask& task,
                                     const absl::Status& failed);
  Turn TakeTurn(Worker& worker, uint32_t kind, const std::string& question, size_t most, const TextTask& task);

  const TokenizerClientOptions options_;
  std::vector<std::unique_ptr<Worker>> workers_;
  int32_t vocab_size_ = 0;
  bool has_chat_template_ = false;

  // Held while the vocabulary process is asked or started.
  std::mutex vocabulary_mutex_;
  int vocabulary_fd_ = -1;
  pid_t vocabulary_pid_ = -1;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_TOKENIZER_CLIENT_H_
