// A real server in this process, and stubs to call it with: what every server test starts from.
#ifndef LOGITD_TESTS_SERVER_IN_PROCESS_H_
#define LOGITD_TESTS_SERVER_IN_PROCESS_H_

#include <google/protobuf/text_format.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "logitd/v1/decoding_service.grpc.pb.h"
#include "logitd/v1/error.pb.h"
#include "logitd/v1/fitting_service.grpc.pb.h"
#include "logitd/v1/generation_service.grpc.pb.h"
#include "logitd/v1/model_service.grpc.pb.h"
#include "logitd/v1/scoring_service.grpc.pb.h"
#include "logitd/v1/server_service.grpc.pb.h"
#include "server/server.h"
#include "tests/testing/fake_model.h"

namespace logitd::testing {

// No call of these tests takes longer; one that hangs fails instead.
inline constexpr std::chrono::seconds kCallTime{60};

// The message that `text` is. A text that is none fails the test.
template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// A row as the payload of a message.
inline std::string Bytes(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// The logitd.v1.Error in a status's details; unset if there is none.
inline std::optional<v1::Error> ErrorOf(const grpc::Status& status) {
  google::rpc::Status rpc;
  if (!rpc.ParseFromString(status.error_details())) return std::nullopt;
  for (const auto& detail : rpc.details()) {
    v1::Error error;
    if (detail.UnpackTo(&error)) return error;
  }
  return std::nullopt;
}

// "FIELD_OUT_OF_RANGE of sampling.temperature", or "OK": what a table of cases compares.
inline std::string Describe(const v1::Error& error) {
  return v1::ErrorReason_Name(error.reason()).substr(std::strlen("ERROR_REASON_")) + " of " + error.field();
}
inline std::string Describe(const grpc::Status& status) {
  if (status.ok()) return "OK";
  const auto error = ErrorOf(status);
  return error ? Describe(*error) : "without details: " + status.error_message();
}

class InProcessServer : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }

  // Starts the server, instead of the one that runs. `options.listen` is set here.
  void Start(server::ServerOptions options, server::Heads heads = server::Heads()) {
    TearDown();
    options.listen = {listen_};
    auto server = server::Server::Start(options, std::move(heads));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = NewChannel();
    decoding_ = v1::DecodingService::NewStub(channel_);
    generation_ = v1::GenerationService::NewStub(channel_);
    scoring_ = v1::ScoringService::NewStub(channel_);
    fitting_ = v1::FittingService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
    info_ = v1::ServerService::NewStub(channel_);
  }

  void TearDown() override {
    fake_.reset();
    if (server_ != nullptr) server_->Drain(std::chrono::seconds(10));
  }

  // A connection of its own.
  std::shared_ptr<grpc::Channel> NewChannel(grpc::ChannelArguments arguments = {}) {
    arguments.SetMaxReceiveMessageSize(64 << 20);
    // Each test has its own server: connections must not be shared.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server_->addresses().front(), grpc::InsecureChannelCredentials(), arguments);
  }

  // Attaches a model, and waits until it serves.
  FakeModel& Attach(FakeModelOptions options = {}) {
    const std::string name = options.name;
    fake_ = std::make_unique<AttachedFakeModel>(server_->runner_address(), std::move(options));
    EXPECT_TRUE(fake_->WaitUntilAccepted());
    EXPECT_TRUE(server_->WaitForModel(name, [] { return false; }));
    return fake_->model();
  }

  static std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + kCallTime);
    return context;
  }

  grpc::Status Distribution(const std::string& request, v1::ComputeDistributionResponse* response) {
    return decoding_->ComputeDistribution(Context().get(), Parse<v1::ComputeDistributionRequest>(request), response);
  }

  grpc::Status Generate(const v1::GenerateRequest& request, std::vector<v1::GenerateResponse>* responses) {
    const auto context = Context();
    const auto reader = generation_->Generate(context.get(), request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) responses->push_back(response);
    return reader->Finish();
  }

  // The completions of a request that is expected to succeed.
  v1::GenerateFinal Completions(const std::string& request) {
    std::vector<v1::GenerateResponse> responses;
    const grpc::Status status = Generate(Parse<v1::GenerateRequest>(request), &responses);
    EXPECT_TRUE(status.ok()) << Describe(status) << ": " << status.error_message();
    return responses.empty() ? v1::GenerateFinal() : responses.back().final();
  }

  grpc::Status Score(const std::string& request, std::vector<v1::ScoreResponse>* responses) {
    const auto context = Context();
    const auto reader = scoring_->Score(context.get(), Parse<v1::ScoreRequest>(request));
    v1::ScoreResponse response;
    while (reader->Read(&response)) responses->push_back(response);
    return reader->Finish();
  }

  grpc::Status Rank(const v1::RankRequest& request, std::vector<v1::RankResponse>* responses) {
    const auto context = Context();
    const auto reader = scoring_->Rank(context.get(), request);
    v1::RankResponse response;
    while (reader->Read(&response)) responses->push_back(response);
    return reader->Finish();
  }
  // The reply to item `index`, which must be there once.
  static v1::RankResponse ReplyTo(int index, const std::vector<v1::RankResponse>& responses) {
    std::vector<v1::RankResponse> found;
    for (const v1::RankResponse& response : responses) {
      if (response.item_index() == index) found.push_back(response);
    }
    EXPECT_EQ(found.size(), 1u) << "item " << index;
    return found.empty() ? v1::RankResponse() : found[0];
  }
  grpc::Status Rank(const std::string& request, std::vector<v1::RankResponse>* responses) {
    return Rank(Parse<v1::RankRequest>(request), responses);
  }

  grpc::Status Decide(const std::string& request, std::vector<v1::DecideResponse>* responses) {
    const auto context = Context();
    const auto reader = scoring_->Decide(context.get(), Parse<v1::DecideRequest>(request));
    v1::DecideResponse response;
    while (reader->Read(&response)) responses->push_back(response);
    return reader->Finish();
  }

  // A call of ScoreLogits with these messages and a half-close. Replies are read while messages are written.
  grpc::Status ScoreLogits(const std::vector<v1::ScoreLogitsRequest>& requests,
                           std::vector<v1::ScoreLogitsResponse>* responses) {
    const auto context = Context();
    const auto stream = scoring_->ScoreLogits(context.get());
    std::jthread reading([&] {
      v1::ScoreLogitsResponse response;
      while (stream->Read(&response)) responses->push_back(response);
    });
    for (const v1::ScoreLogitsRequest& request : requests) {
      if (!stream->Write(request)) break;
    }
    stream->WritesDone();
    reading.join();
    return stream->Finish();
  }

  // The only item's only continuation, of a request that is expected to succeed.
  v1::ScoredContinuation ScoreOne(const std::string& request) {
    std::vector<v1::ScoreResponse> responses;
    const grpc::Status status = Score(request, &responses);
    EXPECT_TRUE(status.ok()) << Describe(status) << ": " << status.error_message();
    EXPECT_EQ(responses.size(), 1u);
    if (responses.empty() || responses[0].item().continuations().empty()) return {};
    return responses[0].item().continuations(0);
  }

  // Where Start listens.
  std::string listen_ = "127.0.0.1:0";
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<AttachedFakeModel> fake_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::DecodingService::Stub> decoding_;
  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ScoringService::Stub> scoring_;
  std::unique_ptr<v1::FittingService::Stub> fitting_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::ServerService::Stub> info_;
};

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_SERVER_IN_PROCESS_H_
