// The tokenizer's side of one attachment: calls come in, wait in the lane of their size, and are answered out of turn.
//
//   TextCalls calls(model, vocab_size, [&](const v1::AttachRequest& answer) { Write(answer); });
//   calls.Push(std::move(response));  // `tokenize` or `detokenize`
//   calls.Cancel(cancel.call_ids());
//   calls.Close();
//
// A model without lanes (Model::TextLanes) has one thread for all calls. With lanes each has a thread, so that a text
// of megabytes delays only its like; what takes longer than its lane allows goes on in the next one.
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

// Thread-safe. `write` is called from every lane's thread.
class TextCalls {
 public:
  TextCalls(Model& model, int32_t vocab_size, std::function<void(const v1::AttachRequest&)> write);
  // As Close, and waits for what runs.
  ~TextCalls();

  void Push(v1::AttachResponse call);
  // Nobody waits for these calls any more; those that are open are answered with CANCELLED, soon.
  void Cancel(const google::protobuf::RepeatedField<int64_t>& call_ids);
  // What has not begun is dropped, what runs is given up: answers have nowhere to go.
  void Close();

 private:
  struct Call;

  void Serve(int lane);
  // Unset: the call has moved to the next lane.
  std::optional<v1::AttachRequest> Tokenize(const std::shared_ptr<Call>& call, int lane);
  v1::AttachRequest Detokenize(const v1::DetokenizeCall& call);
  absl::Status CheckWanted(const Call& call) const;

  Model& model_;
  const int32_t vocab_size_;
  const std::function<void(const v1::AttachRequest&)> write_;
  // Bytes of text of the largest call that each lane but the last takes at first.
  const std::vector<int64_t> lane_bytes_;
  std::atomic<bool> closed_ = false;
  std::mutex open_mutex_;
  // Those that are not answered yet, by number.
  std::map<int64_t, std::shared_ptr<Call>> open_;
  std::vector<std::unique_ptr<WorkQueue<std::shared_ptr<Call>>>> queues_;
  std::vector<std::jthread> threads_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_TEXT_CALLS_H_
