// A model that a runner serves: what it is, its tokens' bytes, its tokenizer, and the scheduler of its batches.
//
// Free of gRPC and protobuf; thread-safe. Shared: the pool, the attachment and every request that uses it hold it.
#ifndef LOGITD_SERVER_MODELS_ATTACHED_MODEL_H_
#define LOGITD_SERVER_MODELS_ATTACHED_MODEL_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/batch_scheduler.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

// The way to a runner. Functions do not block; after the runner is lost they do nothing.
class RunnerLink {
 public:
  virtual ~RunnerLink() = default;
  virtual void SendBatch(Batch batch) = 0;
  virtual void SendTokenize(int64_t call_id, std::vector<std::string> texts, const TokenizationOptions& options) = 0;
  virtual void SendDetokenize(int64_t call_id, std::vector<std::vector<TokenId>> tokens,
                              bool render_special_tokens) = 0;
};

class AttachedModel {
 public:
  AttachedModel(ModelDescription description, RunnerCapabilities capabilities, RunnerCapacity capacity,
                Vocabulary vocabulary, std::shared_ptr<RunnerLink> link);

  const ModelDescription& description() const { return description_; }
  const RunnerCapabilities& capabilities() const { return capabilities_; }
  const RunnerCapacity& capacity() const { return scheduler_->capacity(); }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const std::shared_ptr<BatchScheduler>& scheduler() const { return scheduler_; }

  // Blocks. Shapes: one list per text.
  // Errors: TOKENIZER_UNAVAILABLE; RUNNER_LOST, CANCELLED, DEADLINE_EXCEEDED; what the runner says.
  absl::StatusOr<std::vector<std::vector<TokenId>>> Tokenize(std::vector<std::string> texts,
                                                             const TokenizationOptions& options,
                                                             const RequestContext& context);
  // The bytes of each text, not always UTF-8. Blocks; errors as Tokenize.
  absl::StatusOr<std::vector<std::string>> Detokenize(std::vector<std::vector<TokenId>> tokens,
                                                      bool render_special_tokens, const RequestContext& context);

  // What the runner answered. Errors: RUNNER_PROTOCOL.
  absl::Status OnTokenized(int64_t call_id, absl::StatusOr<std::vector<std::vector<TokenId>>> tokens);
  absl::Status OnDetokenized(int64_t call_id, absl::StatusOr<std::vector<std::string>> texts);
  // The runner is gone: whoever waits gets `status`, and so do all later calls.
  void OnLost(const absl::Status& status);

 private:
  struct TokenizerCall {
    size_t expected = 0;
    bool done = false;
    absl::Status status;
    std::vector<std::vector<TokenId>> tokens;
    std::vector<std::string> texts;
  };

  absl::StatusOr<int64_t> BeginCall(std::shared_ptr<TokenizerCall> call, const RequestContext& context);
  // Waits until `done`, the call's end or its being given up.
  template <typename Done>
  void WaitFor(std::unique_lock<std::mutex>& lock, const RequestContext& context, Done done) {
    // "Never" overflows the clock's conversions.
    if (context.deadline == std::chrono::system_clock::time_point::max()) {
      answered_.wait(lock, context.given_up, done);
    } else {
      answered_.wait_until(lock, context.given_up, context.deadline, done);
    }
  }
  absl::Status WaitForCall(int64_t call_id, const std::shared_ptr<TokenizerCall>& call, const RequestContext& context);
  std::shared_ptr<TokenizerCall> TakeCall(int64_t call_id);

  const ModelDescription description_;
  const RunnerCapabilities capabilities_;
  const Vocabulary vocabulary_;
  const std::shared_ptr<RunnerLink> link_;
  const std::shared_ptr<BatchScheduler> scheduler_;

  std::mutex mutex_;
  std::condition_variable_any answered_;
  absl::Status lost_;
  int64_t last_call_id_ = 0;
  std::unordered_map<int64_t, std::shared_ptr<TokenizerCall>> calls_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_ATTACHED_MODEL_H_
