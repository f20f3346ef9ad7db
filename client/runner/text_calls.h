// Serves the tokenizer calls of one attachment (a runner's stream to the server). A call waits in a lane chosen by its
// size; answers may come in another order than the calls.
//
//   TextCalls calls(model, vocab_size, [&](const v1::AttachRequest& answer) { Write(answer); });
//   calls.Push(std::move(response));  // `tokenize`, `detokenize` or `render_chat`
//   calls.Cancel(cancel.call_ids());
//   calls.Close();
//
// A model without lanes (Model::TextLanes) has one thread for all calls. With lanes, each lane has a thread, so that a
// text of megabytes delays only other long texts. A text that takes longer than its lane allows moves to the next lane.
#ifndef LOGITD_CLIENT_RUNNER_TEXT_CALLS_H_
#define LOGITD_CLIENT_RUNNER_TEXT_CALLS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "client/runner/model_runner.h"
#include "client/runner/work_queue.h"
#include "google/protobuf/repeated_field.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

// Thread-safe. `write` is called from every lane's thread, at the same time too.
class TextCalls {
 public:
  TextCalls(Model& model, int32_t vocab_size, std::function<void(const v1::AttachRequest&)> write);
  // Closes, and waits for the calls that are running.
  ~TextCalls();

  void Push(v1::AttachResponse call);
  // The server no longer waits for these calls. Those not yet answered are soon answered with CANCELLED.
  void Cancel(const google::protobuf::RepeatedField<int64_t>& call_ids);
  // Drops calls that have not begun and gives up those that run: their answers have nowhere to go.
  void Close();

 private:
  struct Call;

  void Serve(int lane);
  // Unset: the call has moved to the next lane.
  std::optional<v1::AttachRequest> Tokenize(const std::shared_ptr<Call>& call, int lane);
  // Unset: the call has moved to the next lane.
  std::optional<v1::AttachRequest> RenderChat(const std::shared_ptr<Call>& call, int lane);
  v1::AttachRequest Detokenize(const v1::DetokenizeCall& call);
  absl::Status CheckWanted(const Call& call) const;

  Model& model_;
  const int32_t vocab_size_;
  const std::function<void(const v1::AttachRequest&)> write_;
  // For each lane except the last, the bytes of text of the largest call that begins there.
  const std::vector<int64_t> lane_bytes_;
  std::atomic<bool> closed_ = false;
  std::mutex open_mutex_;
  // Unanswered calls, by call id.
  std::map<int64_t, std::shared_ptr<Call>> open_;
  std::vector<std::unique_ptr<WorkQueue<std::shared_ptr<Call>>>> queues_;
  std::vector<std::jthread> threads_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_TEXT_CALLS_H_
