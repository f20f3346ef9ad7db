// The limits of calls, streams, runners and time: each has a case with its name, as in limits_test.cc.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "server/limits.h"
#include "tests/server/limits_fixture.h"

namespace logitd::server {
namespace {

using logitd::testing::FakeModel;
using std::chrono::milliseconds;

class UnixSocketTest : public LimitsTest {
 protected:
  void SetUp() override {
    listen_ = "unix:" + ::testing::TempDir() + "/logitd-limits-" + std::to_string(::getpid()) + ".sock";
    LimitsTest::SetUp();
  }
};

TEST_F(LimitsTest, max_streams_per_connection) {
  auto streams = OpenStreams(kMaxStreamsPerConnection);
  // One more is told so at once, whatever kind of call it is.
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4")}).status), "max_streams_per_connection");
  v1::ComputeDistributionResponse distribution;
  const std::string request = "logits { float_values: [1, 2] } sampling { temperature: 0.5 }";
  const grpc::Status refused = Distribution(request, &distribution);
  EXPECT_EQ(LimitOf(refused), "max_streams_per_connection");
  EXPECT_THAT(refused.error_message(), ::testing::HasSubstr("open another connection"));
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  const auto context = Context();
  const auto watch = health->Watch(context.get(), {});
  grpc::health::v1::HealthCheckResponse status;
  EXPECT_FALSE(watch->Read(&status));
  EXPECT_EQ(LimitOf(watch->Finish()), "max_streams_per_connection");
  // What is never refused is answered on that connection, too; and other connections do not notice.
  v1::GetServerInfoResponse response;
  v1::ListModelsResponse models;
  EXPECT_TRUE(info_->GetServerInfo(Context().get(), {}, &response).ok());
  EXPECT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
  EXPECT_TRUE(health->Check(Context().get(), {}, &status).ok());
  const auto other = v1::DecodingService::NewStub(NewChannel());
  EXPECT_TRUE(
      other->ComputeDistribution(Context().get(), Parse<v1::ComputeDistributionRequest>(request), &distribution).ok());
  // A client that knows of a call's end may begin the next one at once.
  for (int i = 0; i < 50; ++i) {
    streams.back().stream->WritesDone();
    EXPECT_TRUE(streams.back().stream->Finish().ok());
    streams.pop_back();
    auto next = OpenStreams(1);
    streams.push_back(std::move(next.front()));
  }
  for (const OpenStream& open : streams) open.context->TryCancel();
}

// gRPC names all clients of a Unix socket alike, "unix:"; each connection has its own count all the same.
TEST_F(UnixSocketTest, max_streams_per_connection) {
  const auto stubs = {v1::DecodingService::NewStub(NewChannel()), v1::DecodingService::NewStub(NewChannel())};
  std::vector<OpenStream> streams;
  for (const auto& stub : stubs) {
    for (int i = 0; i < kMaxStreamsPerConnection; ++i) streams.push_back(Open(*stub));
  }
  for (const auto& stub : stubs) {
    const auto context = Context();
    EXPECT_EQ(LimitOf(stub->Decode(context.get())->Finish()), "max_streams_per_connection");
  }
  for (const OpenStream& open : streams) open.context->TryCancel();
}

v1::AttachRequest HelloOf(const FakeModel& model) {
  v1::AttachRequest hello;
  *hello.mutable_hello()->mutable_model() = model.Info();
  *hello.mutable_hello()->mutable_capabilities() = model.Capabilities();
  *hello.mutable_hello()->mutable_capacity() = model.Capacity();
  hello.mutable_hello()->set_api_major_version(kApiMajorVersion);
  return hello;
}

TEST_F(LimitsTest, max_hidden_size) {
  const auto stub = v1::ModelRunnerService::NewStub(
      grpc::CreateChannel(server_->runner_address(), grpc::InsecureChannelCredentials()));
  const auto context = Context();
  const auto stream = stub->Attach(context.get());
  v1::AttachRequest hello = HelloOf(FakeModel({.name = "hidden"}));
  hello.mutable_hello()->mutable_hidden()->set_hidden_size(kMaxHiddenSize + 1);
  ASSERT_TRUE(stream->Write(hello));
  v1::AttachResponse response;
  while (stream->Read(&response)) continue;
  EXPECT_EQ(LimitOf(stream->Finish()), "max_hidden_size");
}

TEST_F(LimitsTest, max_runners) {
  const auto stub = v1::ModelRunnerService::NewStub(
      grpc::CreateChannel(server_->runner_address(), grpc::InsecureChannelCredentials()));
  struct Runner {
    std::unique_ptr<grpc::ClientContext> context = Context();
    std::unique_ptr<grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>> stream;
  };
  std::vector<Runner> runners;
  for (int i = 0; i <= kMaxRunners; ++i) {
    const FakeModel model({.name = "m" + std::to_string(i)});
    Runner& runner = runners.emplace_back();
    runner.stream = stub->Attach(runner.context.get());
    v1::AttachRequest vocabulary;
    *vocabulary.mutable_vocabulary() = model.Vocabulary();
    ASSERT_TRUE(runner.stream->Write(HelloOf(model)));
    runner.stream->Write(vocabulary);
    if (i < kMaxRunners) {
      ASSERT_TRUE(server_->WaitForModel(model.Info().name(), [] { return false; }));
    }
  }
  v1::AttachResponse response;
  while (runners.back().stream->Read(&response)) continue;
  EXPECT_EQ(LimitOf(runners.back().stream->Finish()), "max_runners");
  for (const Runner& runner : runners) runner.context->TryCancel();
}

// Calls of a server whose model does not answer.
TEST_F(LimitsTest, max_calls) {
  Start({.max_calls = 1});
  std::atomic<bool> has_begun = false;
  std::atomic<bool> may_go_on = false;
  Attach({.before_batch = [&](const v1::RunBatch&) {
    has_begun = true;
    has_begun.notify_all();
    may_go_on.wait(false);
  }});
  grpc::Status generated;
  std::jthread caller([&] { generated = Generate("prompt { tokens { token_ids: 5 } } stop { max_tokens: 1 }"); });
  has_begun.wait(false);
  v1::ComputeDistributionResponse distribution;
  EXPECT_EQ(OverloadOf(Distribution("logits { float_values: [1, 2] }", &distribution)), "max_calls");
  ExpectNeverRefused();
  // Streams are counted apart.
  const auto streams = OpenStreams(2);
  for (const OpenStream& open : streams) open.context->TryCancel();
  may_go_on = true;
  may_go_on.notify_all();
  caller.join();
  EXPECT_TRUE(generated.ok()) << generated.error_message();
}

TEST_F(LimitsTest, max_open_streams) {
  Start({.max_open_streams = 3});
  auto streams = OpenStreams(3);
  EXPECT_EQ(OverloadOf(Decode({Config("vocab_size: 4")}).status), "max_open_streams");
  std::vector<v1::ScoreLogitsResponse> scores;
  EXPECT_EQ(OverloadOf(ScoreLogits({}, &scores)), "max_open_streams");
  ExpectNeverRefused();
  // Calls are counted apart.
  v1::ComputeDistributionResponse distribution;
  EXPECT_TRUE(Distribution("logits { float_values: [1, 2] } sampling { temperature: 0.5 }", &distribution).ok());
  for (const OpenStream& open : streams) open.context->TryCancel();
}

TEST_F(LimitsTest, max_bytes_in_work) {
  Start({.max_bytes_in_work = 1 << 20});
  v1::ComputeDistributionRequest request;
  request.mutable_logits()->set_values(std::string(1 << 20, '\0'));
  v1::ComputeDistributionResponse response;
  const grpc::Status status = decoding_->ComputeDistribution(Context().get(), request, &response);
  const auto error = ErrorOf(status);
  ASSERT_TRUE(error) << status.error_message();
  EXPECT_EQ(error->reason(), v1::ERROR_REASON_OVERLOADED);
  EXPECT_EQ(error->limit(), "max_bytes_in_work");
  EXPECT_GT(error->retry_after_ms(), 0);
  // What was refused does not count.
  EXPECT_TRUE(Distribution("logits { float_values: [1, 2] } sampling { temperature: 0.5 }", &response).ok());
}

TEST_F(LimitsTest, max_watches) {
  Start({.max_watches = 1});
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  const auto first_context = Context();
  const auto first = health->Watch(first_context.get(), {});
  grpc::health::v1::HealthCheckResponse response;
  ASSERT_TRUE(first->Read(&response));
  const auto context = Context();
  const auto second = health->Watch(context.get(), {});
  EXPECT_FALSE(second->Read(&response));
  EXPECT_EQ(ErrorOf(second->Finish())->reason(), v1::ERROR_REASON_OVERLOADED);
  EXPECT_TRUE(health->Check(Context().get(), {}, &response).ok()) << "a busy server is not a dead one";
  first_context->TryCancel();
}

TEST_F(LimitsTest, max_metadata_bytes) {
  const auto context = Context();
  context->AddMetadata("x", std::string(kMaxMetadataBytes, 'x'));
  v1::GetServerInfoResponse response;
  EXPECT_EQ(info_->GetServerInfo(context.get(), {}, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  // gRPC may close that connection; others do not notice.
  EXPECT_TRUE(v1::ServerService::NewStub(NewChannel())->GetServerInfo(Context().get(), {}, &response).ok());
}

TEST_F(LimitsTest, max_idle_ms) {
  Start({.max_idle = milliseconds(100)});
  auto streams = OpenStreams(1);
  v1::DecodeResponse response;
  EXPECT_FALSE(streams[0].stream->Read(&response));
  EXPECT_EQ(LimitOf(streams[0].stream->Finish()), "max_idle_ms");
}

// A stream whose replies are large and unread: its flow-control window fills, and the server's write waits.
TEST_F(LimitsTest, max_stall_ms) {
  Start({.max_stall = milliseconds(200)});
  Attach({.context_length = 4096});
  const auto context = Context();
  // A window that grew with what arrives would take all of it.
  grpc::ChannelArguments small_window;
  small_window.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  small_window.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  const auto client = v1::GenerationService::NewStub(NewChannel(small_window));
  const auto unread = client->Generate(
      context.get(), Parse<v1::GenerateRequest>("prompt { tokens { token_ids: 5 } } record { top_n: 64 } "
                                                "stop { max_tokens: 4000 ignore_eos: true }"));
  // It has begun, and has its cache.
  v1::GenerateResponse response;
  while (unread->Read(&response) && !response.has_delta()) continue;
  // Which is given back: this one needs all of it at once.
  v1::GenerateRequest large = Parse<v1::GenerateRequest>("stop { max_tokens: 1 }");
  for (int i = 0; i < 4090; ++i) large.mutable_prompt()->mutable_tokens()->add_token_ids(5);
  std::vector<v1::GenerateResponse> responses;
  const grpc::Status other = InProcessServer::Generate(large, &responses);
  EXPECT_TRUE(other.ok()) << other.error_message();
  while (unread->Read(&response)) continue;
  const grpc::Status status = unread->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_NE(status.error_message().find("max_stall_ms"), std::string::npos) << status.error_message();
}

}  // namespace
}  // namespace logitd::server
