#include "client/logitd/client.h"

#include <chrono>
#include <functional>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "client/logitd/client_error.h"
#include "client/logitd/reply_queue.h"
#include "grpcpp/client_context.h"

namespace logitd::client {
namespace {

// Makes a call of one request and one response.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(grpc::ClientContext& context, Stub& stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request) {
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

// Ends a call that the caller no longer wants.
template <typename Reader>
absl::Status CancelCall(grpc::ClientContext& context, Reader& reader) {
  context.TryCancel();
  (void)reader.Finish();
  return absl::CancelledError("the callback cancelled the call");
}

// Hands over the messages of a server stream as they come.
template <typename Response, typename Reader>
absl::Status ReadAll(grpc::ClientContext& context, Reader& reader, const std::function<bool(Response)>& on_response) {
  Response response;
  while (reader.Read(&response)) {
    if (!on_response(std::move(response))) return CancelCall(context, reader);
    response.Clear();
  }
  return FromGrpcStatus(reader.Finish());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(Options options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Dial(options));
  return std::make_unique<Client>(std::move(connection), std::move(options));
}

Client::Client(std::unique_ptr<Connection> connection, Options options)
    : connection_(std::move(connection)), options_(std::move(options)) {}

std::unique_ptr<grpc::ClientContext> Client::NewContext() const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (options_.timeout) context->set_deadline(std::chrono::system_clock::now() + *options_.timeout);
  return context;
}

absl::StatusOr<v1::GenerateFinal> Client::Complete(const v1::GenerateRequest& request, const DeltaCallback& on_delta,
                                                   const StartedCallback& on_started, const std::stop_token& stop) {
  const auto context = NewContext();
  const std::stop_callback cancel(stop, [&context] { context->TryCancel(); });
  const auto reader = connection_->generation().Generate(context.get(), request);
  v1::GenerateFinal final;
  bool has_final = false;
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    bool go_on = true;
    if (response.has_started() && on_started) {
      go_on = on_started(response.started());
    } else if (response.has_delta() && on_delta) {
      go_on = on_delta(response.delta());
    } else if (response.has_final()) {
      final = std::move(*response.mutable_final());
      has_final = true;
    }
    if (!go_on) return CancelCall(*context, *reader);
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return FromGrpcStatus(status);
  if (!has_final) return absl::InternalError("the server ended the stream without its final message");
  return final;
}

absl::Status Client::Score(const v1::ScoreRequest& request, const ScoreCallback& on_item) {
  const auto context = NewContext();
  const auto reader = connection_->scoring().Score(context.get(), request);
  return ReadAll<v1::ScoreResponse>(*context, *reader, on_item);
}

absl::Status Client::Rank(const v1::RankRequest& request, const RankCallback& on_item) {
  const auto context = NewContext();
  const auto reader = connection_->scoring().Rank(context.get(), request);
  return ReadAll<v1::RankResponse>(*context, *reader, on_item);
}

absl::Status Client::Decide(const v1::DecideRequest& request, const DecideCallback& on_item) {
  const auto context = NewContext();
  const auto reader = connection_->scoring().Decide(context.get(), request);
  return ReadAll<v1::DecideResponse>(*context, *reader, on_item);
}

absl::Status Client::ScoreLogits(const v1::ScoreLogitsConfig& config, const NextRowsCallback& next_rows,
                                 const ScoreLogitsCallback& on_sequence) {
  const auto context = NewContext();
  const auto stream = connection_->scoring().ScoreLogits(context.get());
  // Replies are read while rows are written, because the server reads a message only after it has written its reply to
  // the one before.
  ReplyQueue<v1::ScoreLogitsResponse> replies(*stream);
  const auto cancel = [&](const absl::Status& status) {
    context->TryCancel();
    replies.Join();
    (void)stream->Finish();
    return status;
  };
  const auto hand_over = [&](bool wait) {
    while (std::optional<v1::ScoreLogitsResponse> reply = replies.Take(wait)) {
      if (!on_sequence(*std::move(reply))) return false;
    }
    return true;
  };
  const absl::Status given_up = absl::CancelledError("the callback cancelled the call");
  v1::ScoreLogitsRequest request;
  *request.mutable_config() = config;
  // A write fails when the server has ended the call: Finish() tells why.
  bool is_open = stream->Write(request, grpc::WriteOptions());
  while (is_open) {
    if (!hand_over(/*wait=*/false)) return cancel(given_up);
    request.Clear();
    const absl::StatusOr<bool> has_rows = next_rows(*request.mutable_rows(), *request.mutable_payload());
    if (!has_rows.ok()) return cancel(has_rows.status());
    if (!*has_rows) break;
    is_open = stream->Write(request, grpc::WriteOptions());
  }
  stream->WritesDone();
  if (!hand_over(/*wait=*/true)) return cancel(given_up);
  replies.Join();
  return FromGrpcStatus(stream->Finish());
}

absl::StatusOr<v1::FitCalibrationResponse> Client::FitCalibration(const v1::FitCalibrationRequest& request) {
  return Call(*NewContext(), connection_->fitting(), &v1::FittingService::StubInterface::FitCalibration, request);
}

absl::StatusOr<v1::ComputeDistributionResponse> Client::ComputeDistribution(
    const v1::ComputeDistributionRequest& request) {
  return Call(*NewContext(), connection_->decoding(), &v1::DecodingService::StubInterface::ComputeDistribution,
              request);
}

absl::StatusOr<std::unique_ptr<DecodeStream>> Client::Decode(const v1::DecodeConfig& config) {
  auto context = NewContext();
  auto stream = connection_->decoding().Decode(context.get());
  return DecodeStream::Start(std::move(context), std::move(stream), config);
}

absl::StatusOr<v1::GetServerInfoResponse> Client::ServerInfo() {
  return Call(*NewContext(), connection_->server(), &v1::ServerService::StubInterface::GetServerInfo,
              v1::GetServerInfoRequest());
}

absl::StatusOr<bool> Client::IsServing(const std::string& model) {
  grpc::health::v1::HealthCheckRequest request;
  if (!model.empty()) request.set_service("model/" + model);
  ASSIGN_OR_RETURN(
      const grpc::health::v1::HealthCheckResponse response,
      Call(*NewContext(), connection_->health(), &grpc::health::v1::Health::StubInterface::Check, request));
  return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
}

absl::StatusOr<v1::ListModelsResponse> Client::Models() {
  return Call(*NewContext(), connection_->models(), &v1::ModelService::StubInterface::ListModels,
              v1::ListModelsRequest());
}

absl::StatusOr<v1::FitStrengthsResponse> Client::FitStrengths(const v1::FitStrengthsRequest& request) {
  return Call(*NewContext(), connection_->fitting(), &v1::FittingService::StubInterface::FitStrengths, request);
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(const v1::TokenizeRequest& request) {
  return Call(*NewContext(), connection_->models(), &v1::ModelService::StubInterface::Tokenize, request);
}

absl::StatusOr<v1::DetokenizeResponse> Client::Detokenize(const v1::DetokenizeRequest& request) {
  return Call(*NewContext(), connection_->models(), &v1::ModelService::StubInterface::Detokenize, request);
}

absl::StatusOr<v1::RenderChatResponse> Client::RenderChat(const v1::RenderChatRequest& request) {
  return Call(*NewContext(), connection_->models(), &v1::ModelService::StubInterface::RenderChat, request);
}

absl::Status Client::GetVocabulary(const v1::GetVocabularyRequest& request, const VocabularyCallback& on_tokens) {
  const auto context = NewContext();
  const auto reader = connection_->models().GetVocabulary(context.get(), request);
  v1::GetVocabularyResponse response;
  while (reader->Read(&response)) {
    if (!on_tokens(response)) return CancelCall(*context, *reader);
  }
  return FromGrpcStatus(reader->Finish());
}

}  // namespace logitd::client
