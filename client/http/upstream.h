// Calls to the logitd server on behalf of HTTP requests. Each call carries the request's bearer token and ends when the
// client leaves.
//
// At most so many calls run at once, and the others wait (call_gate.h). A call that the server refuses because it is
// full, or whose runner was lost, is made again. Calls that need no model have a gate of their own, so that tokenising
// does not wait behind generation. Prompts that begin alike are scored one after the other (prefix_turns.h).
//
// Thread-safe.
#ifndef LOGITD_CLIENT_HTTP_UPSTREAM_H_
#define LOGITD_CLIENT_HTTP_UPSTREAM_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/http/call_gate.h"
#include "client/http/prefix_turns.h"
#include "logitd/v1/generation_service.pb.h"
#include "logitd/v1/model_service.pb.h"
#include "logitd/v1/scoring_service.pb.h"
#include "logitd/v1/server_service.pb.h"

namespace logitd::client {
class Connection;
}  // namespace logitd::client

namespace logitd::http {

// On whose behalf a call is made.
struct Caller {
  // Empty: no token.
  std::string bearer;
  // The call ends when a stop is requested.
  std::stop_token left;
};

// A Generate call that is read message by message. It holds its place at the gate. The call is cancelled if it goes
// before its end.
class GenerateCall {
 public:
  virtual ~GenerateCall() = default;
  // False: there are no more messages, see Finish.
  virtual bool Read(v1::GenerateResponse& response) = 0;
  virtual absl::Status Finish() = 0;
};

class Upstream {
 public:
  Upstream(std::unique_ptr<client::Connection> connection, CallGate::Options gate);
  ~Upstream();

  absl::StatusOr<v1::GetServerInfoResponse> ServerInfo(const Caller& caller);
  absl::StatusOr<v1::ListModelsResponse> Models(const Caller& caller);
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request, const Caller& caller);
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request, const Caller& caller);
  absl::StatusOr<v1::RenderChatResponse> RenderChat(const v1::RenderChatRequest& request, const Caller& caller);
  absl::Status Vocabulary(const v1::GetVocabularyRequest& request, const Caller& caller,
                          const std::function<void(const v1::GetVocabularyResponse&)>& on_tokens);

  // The whole of a generation; its deltas are not sent.
  absl::StatusOr<v1::GenerateFinal> Generate(v1::GenerateRequest request, const Caller& caller);
  // A generation whose first message, `started`, has come: whatever is wrong with the request is known.
  absl::StatusOr<std::unique_ptr<GenerateCall>> StartGenerate(const v1::GenerateRequest& request, const Caller& caller,
                                                              v1::GenerateStarted& started);
  // One reply for each item, in the items' order.
  absl::StatusOr<std::vector<v1::DecideResponse>> Decide(const v1::DecideRequest& request, const Caller& caller);

  // Whether the server takes calls. Asked once, without waiting.
  absl::StatusOr<bool> IsServing(const Caller& caller);

 private:
  const std::unique_ptr<client::Connection> connection_;
  CallGate model_calls_;
  CallGate quick_calls_;
  PrefixTurns turns_;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_UPSTREAM_H_
