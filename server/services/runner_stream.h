// ModelRunnerService.Attach: one attached runner.
#ifndef LOGITD_SERVER_SERVICES_RUNNER_STREAM_H_
#define LOGITD_SERVER_SERVICES_RUNNER_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "logitd/v1/model_runner_service.pb.h"
#include "server/models/attached_runner.h"
#include "server/models/model_pool.h"
#include "server/services/open_calls.h"
#include "server/services/runner_monitor.h"

namespace logitd::server {

// The messages to one runner, in order. The stream and the model that sends through it share it. It may outlive the
// stream and then drops messages. Thread-safe.
class RunnerOutbox final : public RunnerLink {
 public:
  using Stream = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;
  explicit RunnerOutbox(Stream* stream) : stream_(stream) {}

  // Sets the type of rows to ask for. Call it before the first batch.
  void set_row_dtype(v1::LogitsDtype dtype) { row_dtype_ = dtype; }
  void SendBatch(Batch batch) override;
  void SendCancel(int64_t batch_id, std::vector<int64_t> sequence_ids) override;
  void SendTokenize(int64_t call_id, std::vector<std::string> texts, const TokenizationOptions& options) override;
  void SendDetokenize(int64_t call_id, std::vector<std::vector<TokenId>> tokens, bool render_special_tokens) override;
  void SendRenderChat(int64_t call_id, const ChatBytes& chat) override;
  void SendCancelCall(int64_t call_id) override;
  void Send(const v1::AttachResponse& message);
  // Sends a heartbeat, unless another message is on its way or the runner has not been accepted yet.
  void SendHeartbeat();

  // The work of a batch, by sequence.
  using Pieces = std::unordered_map<int64_t, SequenceWork>;
  // The work of batch `batch_id`; empty if it is not in flight.
  std::shared_ptr<const Pieces> BatchInFlight(int64_t batch_id);
  // The batch has been answered.
  void EndBatch(int64_t batch_id);

  void OnWriteDone(bool ok);
  // Drops every later message. Calls `finish`, which ends the stream, while nobody can begin a write.
  template <typename Finish>
  void Close(Finish finish) {
    std::lock_guard lock(mutex_);
    stream_ = nullptr;
    finish();
  }

 private:
  v1::LogitsDtype row_dtype_ = v1::LOGITS_DTYPE_F32;
  std::mutex mutex_;
  Stream* stream_;
  std::deque<grpc::ByteBuffer> queue_;
  bool is_accepted_ = false;
  bool is_writing_ = false;
  // The batches that are not answered yet.
  std::map<int64_t, std::shared_ptr<const Pieces>> batches_;
};

// Asks whoever started the runner of this name, whose attachment has just ended, how it ended. Unset: it is not known
// yet, and `then` is called with it soon.
using AwaitRunnerEnd =
    std::function<std::optional<RunnerEnd>(const std::string& runner_name, std::function<void(const RunnerEnd&)> then)>;

class RunnerStream final : public RunnerOutbox::Stream, public OpenCall, public WatchedRunner {
 public:
  RunnerStream(ModelPool& models, OpenCalls& open_calls, RunnerMonitor& monitor, const AwaitRunnerEnd& await_end,
               int64_t runner_id);

  void End(const absl::Status& status) override;
  bool EndsByItself() const override { return false; }
  void OnHeartbeat(std::chrono::steady_clock::time_point now) override;

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override { outbox_->OnWriteDone(ok); }
  void OnCancel() override;
  void OnDone() override;

  absl::Status Handle();
  absl::Status HandleHello(const v1::RunnerHello& hello);
  absl::Status HandleAnswer();
  absl::Status Attach(std::shared_ptr<const Vocabulary> vocabulary);
  // `end`: how the runner ended, if this side knows.
  void FinishOnce(const absl::Status& status, const RunnerEnd& end = {});

  ModelPool& models_;
  OpenCalls& open_calls_;
  RunnerMonitor& monitor_;
  const AwaitRunnerEnd& await_end_;
  const int64_t runner_id_;
  bool is_open_ = false;
  const std::shared_ptr<RunnerOutbox> outbox_;
  grpc::ByteBuffer bytes_;
  v1::AttachRequest request_;
  // Set by hello; only the reading thread uses them.
  std::optional<ModelDescription> description_;
  RunnerCapabilities capabilities_;
  RunnerExtras extras_;
  RunnerCapacity capacity_;
  std::string runner_name_;
  // The receiver of this stream's answers, once attached. Only the reading thread uses it.
  std::shared_ptr<AttachedRunner> runner_;
  std::atomic<std::chrono::steady_clock::time_point> last_heard_{std::chrono::steady_clock::now()};
  std::mutex mutex_;
  bool is_finished_ = false;
  // The stream broke.
  bool is_cancelled_ = false;
  // The runner was attached, and nobody knows how it ended. OnDone reports that it is gone, and whether it broke.
  bool is_gone_ = false;
  // The same, and its model, while they are in the pool.
  std::shared_ptr<AttachedRunner> attached_;
  std::shared_ptr<ServedModel> model_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_RUNNER_STREAM_H_
