// The C++ client of logitd.
//
//   absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect({.address = "127.0.0.1:50051"});
//   v1::GenerateRequest request;
//   request.mutable_prompt()->set_text("The capital of France is");
//   request.mutable_sampling()->set_temperature(0);
//   absl::StatusOr<v1::GenerateFinal> final =
//       (*client)->Complete(request, [](const v1::CompletionDelta& delta) { return Print(delta.text()); });
//   if (!final.ok()) return ErrorOf(final.status()).reason;     // client_error.h
//
// Requests and replies are the messages of proto/logitd/v1; their comments are the manual. Errors of a whole call are
// the returned status (with its details, see client_error.h); errors of one item, candidate or sequence are inside the
// reply, and the status is OK.
//
// Thread-safe: one Client serves many threads, over one connection.
#ifndef LOGITD_CLIENT_LOGITD_CLIENT_H_
#define LOGITD_CLIENT_LOGITD_CLIENT_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/logitd/connection.h"
#include "client/logitd/decode_stream.h"
#include "client/logitd/options.h"

namespace logitd::client {

// Callbacks run on the calling thread, between two reads. A callback that returns false cancels the call, which then
// ends with kCancelled.
using StartedCallback = std::function<bool(const v1::GenerateStarted&)>;
using DeltaCallback = std::function<bool(const v1::CompletionDelta&)>;
using ScoreCallback = std::function<bool(v1::ScoreResponse)>;
using RankCallback = std::function<bool(v1::RankResponse)>;
using DecideCallback = std::function<bool(v1::DecideResponse)>;
using ScoreLogitsCallback = std::function<bool(v1::ScoreLogitsResponse)>;
using VocabularyCallback = std::function<bool(const v1::GetVocabularyResponse&)>;
// Fills in the next rows and the bytes of their blocks; both come empty. False: there are no more. An error cancels the
// call, which then ends with it.
using NextRowsCallback = std::function<absl::StatusOr<bool>(v1::ScoreLogitsRows& rows, std::string& payload)>;

class Client {
 public:
  // No I/O: the first call connects. Errors: kInvalidArgument (options.address).
  static absl::StatusOr<std::unique_ptr<Client>> Connect(Options options);
  // Over a connection made elsewhere: mocks, other credentials.
  Client(std::unique_ptr<Connection> connection, Options options);

  // GenerationService.Generate. Callbacks may be empty. `stop`: cancels the call when it is requested, from any thread;
  // the call then ends with kCancelled.
  absl::StatusOr<v1::GenerateFinal> Complete(const v1::GenerateRequest& request, const DeltaCallback& on_delta = {},
                                             const StartedCallback& on_started = {}, const std::stop_token& stop = {});

  // ScoringService.Score: one response per item, in the order they are done (ScoreResponse.item_index).
  absl::Status Score(const v1::ScoreRequest& request, const ScoreCallback& on_item);

  // ScoringService.ScoreLogits: log-probs under the caller's own logits. Needs no model. `on_sequence` gets each
  // sequence's reply, between two messages or after the last one. One message at a time is held in memory.
  absl::Status ScoreLogits(const v1::ScoreLogitsConfig& config, const NextRowsCallback& next_rows,
                           const ScoreLogitsCallback& on_sequence);

  // ScoringService.Rank: one response per item, in the order they are done (RankResponse.item_index).
  absl::Status Rank(const v1::RankRequest& request, const RankCallback& on_item);
  // ScoringService.Decide: one response per item, in the order they are done (DecideResponse.item_index).
  absl::Status Decide(const v1::DecideRequest& request, const DecideCallback& on_item);

  // FittingService.FitStrengths. Needs no model.
  absl::StatusOr<v1::FitStrengthsResponse> FitStrengths(const v1::FitStrengthsRequest& request);

  // FittingService.FitCalibration. Needs no model.
  absl::StatusOr<v1::FitCalibrationResponse> FitCalibration(const v1::FitCalibrationRequest& request);

  // DecodingService.ComputeDistribution. Needs no model.
  absl::StatusOr<v1::ComputeDistributionResponse> ComputeDistribution(const v1::ComputeDistributionRequest& request);

  // DecodingService.Decode. The stream must not outlive the client.
  absl::StatusOr<std::unique_ptr<DecodeStream>> Decode(const v1::DecodeConfig& config);

  // ServerService.GetServerInfo.
  absl::StatusOr<v1::GetServerInfoResponse> ServerInfo();

  // grpc.health.v1.Health.Check, which is never refused for load: whether the server takes calls, or, if `model` is not
  // empty, whether that model has a runner. Errors: kNotFound (the server has not had such a model).
  absl::StatusOr<bool> IsServing(const std::string& model = "");

  // ModelService.
  absl::StatusOr<v1::ListModelsResponse> Models();
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request);
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request);
  absl::StatusOr<v1::RenderChatResponse> RenderChat(const v1::RenderChatRequest& request);
  // All tokens of a model, ascending, some in each response.
  absl::Status GetVocabulary(const v1::GetVocabularyRequest& request, const VocabularyCallback& on_tokens);

 private:
  // A context with the call's deadline.
  std::unique_ptr<grpc::ClientContext> NewContext() const;

  std::unique_ptr<Connection> connection_;
  Options options_;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_CLIENT_H_
