#include "client/http/upstream.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "client/logitd/client_error.h"
#include "client/logitd/connection.h"
#include "grpcpp/client_context.h"

namespace logitd::http {
namespace {

// Calls at once that need no model.
constexpr int kQuickPlaces = 32;
// The longest wait of a prompt for another one that begins alike.
constexpr std::chrono::milliseconds kLongestTurn{60'000};
// A server that does not answer a health check in this time is not ready.
constexpr std::chrono::seconds kReadyTime{5};

// A context that carries the caller's token and ends with the caller.
class CallerContext {
 public:
  explicit CallerContext(const Caller& caller) : on_left_(caller.left, [this] { context_.TryCancel(); }) {
    if (!caller.bearer.empty()) context_.AddMetadata("authorization", "Bearer " + caller.bearer);
  }
  grpc::ClientContext* get() { return &context_; }

 private:
  grpc::ClientContext context_;
  std::stop_callback<std::function<void()>> on_left_;
};

// A call of one request and one response.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> CallOnce(CallGate& gate, const Caller& caller, Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                  const Request& request) {
  Response response;
  RETURN_IF_ERROR(gate.Run(caller.left, [&] {
    CallerContext context(caller);
    response.Clear();
    return client::FromGrpcStatus((stub.*method)(context.get(), request, &response));
  }));
  return response;
}

// The call takes hardly longer than the prompt's evaluation.
bool EndsWithThePrompt(const v1::GenerateRequest& request) {
  return request.stop().has_max_tokens() && request.stop().max_tokens() <= 1 && request.n() <= 1;
}

// Equal beginnings of prompts have equal beginnings of these.
std::string BytesOf(const v1::Input& prompt) {
  if (!prompt.has_tokens()) return prompt.text();
  const auto& tokens = prompt.tokens().token_ids();
  return {reinterpret_cast<const char*>(tokens.data()), static_cast<size_t>(tokens.size()) * sizeof(int32_t)};
}

class OpenGenerateCall final : public GenerateCall {
 public:
  OpenGenerateCall(const Caller& caller, client::Connection& connection, const v1::GenerateRequest& request)
      : context_(caller), reader_(connection.generation().Generate(context_.get(), request)) {}
  OpenGenerateCall(const OpenGenerateCall&) = delete;
  OpenGenerateCall& operator=(const OpenGenerateCall&) = delete;
  ~OpenGenerateCall() override {
    if (is_finished_) return;
    context_.get()->TryCancel();
    (void)Finish();
  }

  // It has the place until it goes.
  void Keep(CallGate::Place place) { place_.emplace(std::move(place)); }

  bool Read(v1::GenerateResponse& response) override { return reader_->Read(&response); }
  absl::Status Finish() override {
    is_finished_ = true;
    return client::FromGrpcStatus(reader_->Finish());
  }

 private:
  std::optional<CallGate::Place> place_;
  CallerContext context_;
  const std::unique_ptr<grpc::ClientReaderInterface<v1::GenerateResponse>> reader_;
  bool is_finished_ = false;
};

}  // namespace

Upstream::Upstream(std::unique_ptr<client::Connection> connection, CallGate::Options gate)
    : connection_(std::move(connection)),
      model_calls_(gate),
      quick_calls_({kQuickPlaces, gate.max_waiting, gate.max_wait}),
      turns_(std::min(gate.max_wait, kLongestTurn)) {}

Upstream::~Upstream() = default;

absl::StatusOr<v1::GetServerInfoResponse> Upstream::ServerInfo(const Caller& caller) {
  return CallOnce(quick_calls_, caller, connection_->server(), &v1::ServerService::StubInterface::GetServerInfo,
                  v1::GetServerInfoRequest());
}

absl::StatusOr<v1::ListModelsResponse> Upstream::Models(const Caller& caller) {
  return CallOnce(quick_calls_, caller, connection_->models(), &v1::ModelService::StubInterface::ListModels,
                  v1::ListModelsRequest());
}

absl::StatusOr<v1::TokenizeResponse> Upstream::Tokenize(const v1::TokenizeRequest& request, const Caller& caller) {
  return CallOnce(quick_calls_, caller, connection_->models(), &v1::ModelService::StubInterface::Tokenize, request);
}

absl::StatusOr<v1::DetokenizeResponse> Upstream::Detokenize(const v1::DetokenizeRequest& request,
                                                            const Caller& caller) {
  return CallOnce(quick_calls_, caller, connection_->models(), &v1::ModelService::StubInterface::Detokenize, request);
}

absl::StatusOr<v1::RenderChatResponse> Upstream::RenderChat(const v1::RenderChatRequest& request,
                                                            const Caller& caller) {
  return CallOnce(quick_calls_, caller, connection_->models(), &v1::ModelService::StubInterface::RenderChat, request);
}

absl::Status Upstream::Vocabulary(const v1::GetVocabularyRequest& request, const Caller& caller,
                                  const std::function<void(const v1::GetVocabularyResponse&)>& on_tokens) {
  return quick_calls_.Run(caller.left, [&] {
    CallerContext context(caller);
    const auto reader = connection_->models().GetVocabulary(context.get(), request);
    v1::GetVocabularyResponse response;
    while (reader->Read(&response)) on_tokens(response);
    return client::FromGrpcStatus(reader->Finish());
  });
}

absl::StatusOr<v1::GenerateFinal> Upstream::Generate(v1::GenerateRequest request, const Caller& caller) {
  request.set_stream(false);
  std::optional<PrefixTurns::Turn> turn;
  if (EndsWithThePrompt(request)) {
    turn.emplace(turns_.Enter(request.model() + '\0' + request.evaluation().SerializeAsString(),
                              BytesOf(request.prompt()), caller.left));
  }
  v1::GenerateFinal final;
  RETURN_IF_ERROR(model_calls_.Run(caller.left, [&]() -> absl::Status {
    CallerContext context(caller);
    const auto reader = connection_->generation().Generate(context.get(), request);
    v1::GenerateResponse response;
    bool has_final = false;
    while (reader->Read(&response)) {
      if (!response.has_final()) continue;
      final = std::move(*response.mutable_final());
      has_final = true;
    }
    RETURN_IF_ERROR(client::FromGrpcStatus(reader->Finish()));
    return has_final ? absl::OkStatus() : absl::InternalError("the server sent no final message");
  }));
  if (turn.has_value()) turn->SetEvaluated();
  return final;
}

absl::StatusOr<std::unique_ptr<GenerateCall>> Upstream::StartGenerate(const v1::GenerateRequest& request,
                                                                      const Caller& caller,
                                                                      v1::GenerateStarted& started) {
  std::unique_ptr<OpenGenerateCall> call;
  RETURN_IF_ERROR(model_calls_.RunHolding(caller.left, [&](CallGate::Place& place) -> absl::Status {
    call = std::make_unique<OpenGenerateCall>(caller, *connection_, request);
    v1::GenerateResponse response;
    if (call->Read(response) && response.has_started()) {
      started = std::move(*response.mutable_started());
      call->Keep(std::move(place));
      return absl::OkStatus();
    }
    const absl::Status status = call->Finish();
    call.reset();
    return status.ok() ? absl::InternalError("the server sent no first message") : status;
  }));
  return call;
}

absl::StatusOr<std::vector<v1::DecideResponse>> Upstream::Decide(const v1::DecideRequest& request,
                                                                 const Caller& caller) {
  std::vector<v1::DecideResponse> replies;
  RETURN_IF_ERROR(model_calls_.Run(caller.left, [&]() -> absl::Status {
    CallerContext context(caller);
    const auto reader = connection_->scoring().Decide(context.get(), request);
    replies.assign(static_cast<size_t>(request.items_size()), {});
    v1::DecideResponse response;
    while (reader->Read(&response)) {
      const auto index = static_cast<size_t>(response.item_index());
      if (index < replies.size()) replies[index] = std::move(response);
      response.Clear();
    }
    return client::FromGrpcStatus(reader->Finish());
  }));
  return replies;
}

absl::StatusOr<bool> Upstream::IsServing(const Caller& caller) {
  CallerContext context(caller);
  context.get()->set_deadline(std::chrono::system_clock::now() + kReadyTime);
  grpc::health::v1::HealthCheckResponse response;
  RETURN_IF_ERROR(client::FromGrpcStatus(
      connection_->health().Check(context.get(), grpc::health::v1::HealthCheckRequest(), &response)));
  return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
}

}  // namespace logitd::http
