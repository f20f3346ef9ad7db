// One attached runner: its link, the scheduler of its batches and its tokenizer.
//
// Free of gRPC and protobuf; thread-safe. The model, the runner's stream and every call that waits for the runner share
// it.
#ifndef LOGITD_SERVER_MODELS_ATTACHED_RUNNER_H_
#define LOGITD_SERVER_MODELS_ATTACHED_RUNNER_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/batch_scheduler.h"
#include "server/models/model_description.h"
#include "server/models/runner_end.h"
#include "server/models/runner_link.h"
#include "server/models/tokenization.h"
#include "server/request_context.h"

namespace logitd::server {

class AttachedRunner {
 public:
  // `name`: the runner's own name, for people and for the code that supervises the runner.
  // `sharing`: what it can do with the sequences in its cache.
  AttachedRunner(std::string name, const ModelDescription& model, const RunnerCapacity& capacity,
                 std::shared_ptr<RunnerLink> link, RunnerExtras extras = {}, CacheSharing sharing = {});

  const std::string& name() const { return name_; }
  // See ModelDescription.
  std::optional<double> batch_tolerance_nats() const { return batch_tolerance_nats_; }
  const RunnerCapacity& capacity() const { return scheduler_->capacity(); }
  bool can_choose() const { return extras_.can_choose; }
  const RunnerExtras& extras() const { return extras_; }
  const std::shared_ptr<BatchScheduler>& scheduler() const { return scheduler_; }

  // Tokenises `texts`. Blocks until the runner answers. Returns one list per text.
  // Errors: RUNNER_LOST, CANCELLED, DEADLINE_EXCEEDED, and the runner's own errors.
  absl::StatusOr<std::vector<std::vector<TokenId>>> Tokenize(std::vector<std::string> texts,
                                                             const TokenizationOptions& options,
                                                             const RequestContext& context);
  // Returns the bytes of each text, which are not always UTF-8. Blocks; errors as Tokenize.
  absl::StatusOr<std::vector<std::string>> Detokenize(std::vector<std::vector<TokenId>> tokens,
                                                      bool render_special_tokens, const RequestContext& context);
  // Renders a conversation with the model's chat template. Blocks; errors as Tokenize.
  absl::StatusOr<RenderedChat> RenderChat(const ChatBytes& chat, const RequestContext& context);

  // Whether the runner hangs: it has had a batch, or calls of its tokenizer, for too long without an answer.
  bool IsOverdue(std::chrono::steady_clock::time_point now);

  // The runner's answer to a call. Errors: RUNNER_PROTOCOL.
  absl::Status OnTokenized(int64_t call_id, absl::StatusOr<std::vector<std::vector<TokenId>>> tokens);
  absl::Status OnDetokenized(int64_t call_id, absl::StatusOr<std::vector<std::string>> texts);
  absl::Status OnRenderedChat(int64_t call_id, absl::StatusOr<RenderedChat> chat);
  // The runner is gone, and the reason will follow in OnLost. No more batches are sent.
  void StopBatches() { scheduler_->StopBatches(); }
  // The runner is gone. All waiting and all later calls fail with `status`. `end`: how the runner ended.
  void OnLost(const absl::Status& status, const RunnerEnd& end = {});

 private:
  struct TokenizerCall {
    size_t expected = 0;
    // Bytes of all texts, or an estimate of the bytes that the tokens spell.
    int64_t text_bytes = 0;
    bool done = false;
    // Notified when the call is done or the runner is lost. Only the caller of this call waits on it.
    std::condition_variable_any changed;
    absl::Status status;
    std::vector<std::vector<TokenId>> tokens;
    std::vector<std::string> texts;
    std::vector<RenderedChat> chats;
  };

  absl::StatusOr<int64_t> BeginCall(std::shared_ptr<TokenizerCall> call, const RequestContext& context);
  // Waits for the answer. A caller that stops waiting tells the runner so.
  absl::Status WaitForCall(int64_t call_id, const std::shared_ptr<TokenizerCall>& call, const RequestContext& context);
  using Calls = std::unordered_map<int64_t, std::shared_ptr<TokenizerCall>>;
  // Removes an answered call and lets another one begin. REQUIRES: mutex_ is held.
  std::shared_ptr<TokenizerCall> TakeCall(Calls::iterator found);
  // `result`: the member of the call that keeps an answer of this kind.
  template <typename T>
  absl::Status OnAnswer(int64_t call_id, absl::StatusOr<std::vector<T>> answer, std::vector<T> TokenizerCall::*result);

  const std::string name_;
  const int32_t vocab_size_;
  const std::optional<double> batch_tolerance_nats_;
  const RunnerExtras extras_;
  const std::shared_ptr<RunnerLink> link_;
  const std::shared_ptr<BatchScheduler> scheduler_;

  std::mutex mutex_;
  // Notified when another short call, or another long call, may begin.
  std::condition_variable_any short_room_;
  std::condition_variable_any long_room_;
  absl::Status lost_;
  int64_t last_call_id_ = 0;
  // When the first of the open calls began to wait, or when the last answer came if that is later.
  std::chrono::steady_clock::time_point waiting_since_;
  Calls calls_;
  // The number of short calls and of long calls among them.
  size_t short_calls_ = 0;
  size_t long_calls_ = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_ATTACHED_RUNNER_H_
