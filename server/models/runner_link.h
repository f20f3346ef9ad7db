// The server's way to one runner. Free of gRPC and protobuf.
#ifndef LOGITD_SERVER_MODELS_RUNNER_LINK_H_
#define LOGITD_SERVER_MODELS_RUNNER_LINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/models/tokenization.h"
#include "server/models/work.h"

namespace logitd::server {

// Thread-safe. No function blocks or calls back. After the runner is lost they do nothing.
class RunnerLink {
 public:
  virtual ~RunnerLink() = default;
  virtual void SendBatch(Batch batch) = 0;
  // No caller waits for these sequences' results of the batch any more. The runner still answers the batch.
  virtual void SendCancel(int64_t batch_id, std::vector<int64_t> sequence_ids) = 0;
  virtual void SendTokenize(int64_t call_id, std::vector<std::string> texts, const TokenizationOptions& options) = 0;
  virtual void SendDetokenize(int64_t call_id, std::vector<std::vector<TokenId>> tokens,
                              bool render_special_tokens) = 0;
  virtual void SendRenderChat(int64_t call_id, const ChatBytes& chat) = 0;
  // No caller waits for this call of the tokenizer any more. The runner still answers it.
  virtual void SendCancelCall(int64_t call_id) = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_LINK_H_
