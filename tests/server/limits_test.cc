// A case for every field of logitd.v1.Limits, named after it: what goes beyond it is refused, and says so.
#include "server/limits.h"

#include <grpc/health/v1/health.grpc.pb.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <thread>

#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::ErrorOf;
using logitd::testing::FakeModel;
using logitd::testing::Parse;
using std::chrono::milliseconds;

class LimitsTest : public logitd::testing::InProcessServer {
 protected:
  // The limit that an error names, "" if it names none.
  static std::string LimitOf(const v1::Error& error) {
    EXPECT_EQ(error.code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED)) << error.message();
    EXPECT_EQ(error.reason(), v1::ERROR_REASON_LIMIT_EXCEEDED) << error.message();
    EXPECT_NE(error.message(), "");
    return error.limit();
  }
  static std::string LimitOf(const grpc::Status& status) {
    const auto error = ErrorOf(status);
    EXPECT_TRUE(error) << status.error_code() << ": " << status.error_message();
    return error ? LimitOf(*error) : "";
  }

  // Sends the messages on one Decode stream; the last reply, or the stream's end if it ends before.
  struct Decoded {
    v1::DecodeResponse last;
    grpc::Status status;
  };
  Decoded Decode(const std::vector<v1::DecodeRequest>& requests) {
    Decoded decoded;
    const auto context = Context();
    const auto stream = decoding_->Decode(context.get());
    for (const v1::DecodeRequest& request : requests) {
      if (!stream->Write(request) || !stream->Read(&decoded.last)) break;
    }
    stream->WritesDone();
    decoded.status = stream->Finish();
    return decoded;
  }
  static v1::DecodeRequest Config(const std::string& fields) {
    return Parse<v1::DecodeRequest>("config { " + fields + " }");
  }
  static v1::DecodeRequest Open(int64_t batch_id, int count) {
    v1::DecodeRequest request;
    request.mutable_batch()->set_batch_id(batch_id);
    for (int i = 0; i < count; ++i) request.mutable_batch()->add_opens()->set_sequence_id(batch_id * 10'000 + i);
    return request;
  }

  grpc::Status Generate(const std::string& request) {
    std::vector<v1::GenerateResponse> responses;
    return InProcessServer::Generate(Parse<v1::GenerateRequest>(request), &responses);
  }
  grpc::Status Score(const v1::ScoreRequest& request) {
    const auto context = Context();
    const auto reader = scoring_->Score(context.get(), request);
    v1::ScoreResponse response;
    while (reader->Read(&response)) continue;
    return reader->Finish();
  }
  static v1::ScoreItem& AddItem(v1::ScoreRequest& request, int context_tokens, int continuations) {
    v1::ScoreItem& item = *request.add_items();
    for (int i = 0; i < context_tokens; ++i) item.mutable_context()->mutable_tokens()->add_token_ids(5);
    for (int i = 0; i < continuations; ++i) {
      auto& input = *item.add_continuations();
      input.mutable_tokens()->add_token_ids(7);
    }
    return item;
  }

  // The limit that an OVERLOADED names.
  static std::string OverloadOf(const grpc::Status& status) {
    const auto error = ErrorOf(status);
    EXPECT_TRUE(error) << status.error_code() << ": " << status.error_message();
    if (!error) return "";
    EXPECT_EQ(error->reason(), v1::ERROR_REASON_OVERLOADED) << error->message();
    EXPECT_GT(error->retry_after_ms(), 0);
    return error->limit();
  }

  void ExpectNeverRefused() {
    v1::GetServerInfoResponse info;
    EXPECT_TRUE(info_->GetServerInfo(Context().get(), {}, &info).ok());
    v1::ListModelsResponse models;
    EXPECT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
    grpc::health::v1::HealthCheckResponse health;
    EXPECT_TRUE(grpc::health::v1::Health::NewStub(channel_)->Check(Context().get(), {}, &health).ok());
    EXPECT_EQ(health.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  }

  // Opens Decode streams, each with its config answered.
  struct OpenStream {
    std::unique_ptr<grpc::ClientContext> context = Context();
    std::unique_ptr<grpc::ClientReaderWriter<v1::DecodeRequest, v1::DecodeResponse>> stream;
  };
  static OpenStream Open(v1::DecodingService::Stub& stub) {
    OpenStream open;
    open.stream = stub.Decode(open.context.get());
    v1::DecodeResponse response;
    EXPECT_TRUE(open.stream->Write(Config("vocab_size: 4")));
    EXPECT_TRUE(open.stream->Read(&response));
    return open;
  }
  std::vector<OpenStream> OpenStreams(int count) {
    std::vector<OpenStream> streams;
    for (int i = 0; i < count; ++i) streams.push_back(Open(*decoding_));
    return streams;
  }
};

class UnixSocketTest : public LimitsTest {
 protected:
  void SetUp() override {
    listen_ = "unix:" + ::testing::TempDir() + "/logitd-limits-" + std::to_string(::getpid()) + ".sock";
    LimitsTest::SetUp();
  }
};

TEST_F(LimitsTest, max_message_bytes) {
  v1::ComputeDistributionRequest request;
  request.mutable_logits()->set_values(std::string(kMaxMessageBytes + 1, '\0'));
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(LimitOf(decoding_->ComputeDistribution(Context().get(), request, &response)), "max_message_bytes");
  v1::DecodeRequest batch = Open(1, 1);
  batch.set_payload(std::string(kMaxMessageBytes + 1, '\0'));
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), batch}).status), "max_message_bytes");
  // Beyond what is read at all, gRPC refuses it: without details, but with the same code.
  batch.set_payload(std::string(2 * kMaxMessageBytes + 1, '\0'));
  EXPECT_EQ(Decode({Config("vocab_size: 4"), batch}).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

// What takes no rows takes less; nothing of it is parsed.
TEST_F(LimitsTest, max_request_bytes) {
  v1::ScoreRequest score;
  score.set_model(std::string(kMaxRequestBytes + 1, 'x'));
  EXPECT_EQ(LimitOf(Score(score)), "max_request_bytes");
  v1::TokenizeRequest tokenize;
  tokenize.set_model(std::string(kMaxRequestBytes + 1, 'x'));
  v1::TokenizeResponse response;
  EXPECT_EQ(LimitOf(models_->Tokenize(Context().get(), tokenize, &response)), "max_request_bytes");
}

TEST_F(LimitsTest, max_message_elements) {
  v1::ScoreRequest score;
  for (int i = 0; i <= kMaxMessageElements; ++i) score.add_items();
  EXPECT_EQ(LimitOf(Score(score)), "max_message_elements");
  v1::DecodeRequest batch = Open(1, 1);
  for (int i = 0; i < kMaxMessageElements; ++i) batch.mutable_batch()->add_steps();
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), batch}).status), "max_message_elements");
  // A list that is within it, and too long for its own limit, is named.
  v1::TokenizeRequest tokenize;
  for (int i = 0; i <= kMaxItems; ++i) tokenize.add_texts("x");
  v1::TokenizeResponse response;
  EXPECT_EQ(LimitOf(models_->Tokenize(Context().get(), tokenize, &response)), "max_items");
}

TEST_F(LimitsTest, max_vocab_size) {
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(
      LimitOf(Distribution("logits { block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 1048577 } }", &response)),
      "max_vocab_size");
}

TEST_F(LimitsTest, max_rows_per_message) {
  v1::DecodeRequest batch = Open(1, 1);
  *batch.mutable_batch()->add_blocks() = Parse<v1::LogitsBlock>("dtype: LOGITS_DTYPE_F32 row_count: 1025 width: 4");
  batch.set_payload(std::string(1025 * 16, '\0'));
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), batch}).status), "max_rows_per_message");
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), Open(1, 1025)}).status), "max_rows_per_message");
}

TEST_F(LimitsTest, max_sequences_per_stream) {
  const Decoded decoded = Decode({Config("vocab_size: 4"), Open(1, kMaxSequencesPerStream), Open(2, 1)});
  EXPECT_TRUE(decoded.status.ok());
  EXPECT_EQ(LimitOf(decoded.last.result().opens(0).error()), "max_sequences_per_stream");
}

TEST_F(LimitsTest, max_stream_state_bytes) {
  v1::DecodeRequest open = Open(1, 129);
  for (auto& sequence : *open.mutable_batch()->mutable_opens()) {
    sequence.mutable_fresh()->mutable_state()->mutable_tokens()->mutable_token_ids()->Resize(kMaxTokens - 1, 0);
  }
  const Decoded decoded = Decode({Config("vocab_size: 4 sampling { frequency_penalty: 1 }"), open});
  EXPECT_TRUE(decoded.status.ok());
  EXPECT_FALSE(decoded.last.result().opens(127).has_error());
  EXPECT_EQ(LimitOf(decoded.last.result().opens(128).error()), "max_stream_state_bytes");
}

TEST_F(LimitsTest, max_tokens) {
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4 stop { max_tokens: 131073 }")}).status), "max_tokens");
}

TEST_F(LimitsTest, max_prompt_tokens) {
  v1::DecodeRequest open = Open(1, 1);
  open.mutable_batch()->mutable_opens(0)->mutable_fresh()->mutable_prompt_token_ids()->Resize(kMaxPromptTokens + 1, 0);
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 4"), open}).last.result().opens(0).error()), "max_prompt_tokens");
}

TEST_F(LimitsTest, max_top_n) {
  EXPECT_EQ(LimitOf(Decode({Config("vocab_size: 2000 record { top_n: 1025 }")}).status), "max_top_n");
}

TEST_F(LimitsTest, max_named_tokens) {
  v1::DecodeRequest config = Config("vocab_size: 2000");
  for (int i = 0; i <= kMaxNamedTokens; ++i) config.mutable_config()->mutable_record()->add_named_token_ids(i);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_named_tokens");
}

TEST_F(LimitsTest, max_logit_biases) {
  v1::DecodeRequest config = Config("vocab_size: 1048576");
  for (int i = 0; i <= kMaxLogitBiases; ++i) {
    config.mutable_config()->mutable_sampling()->add_logit_biases()->set_token_id(i);
  }
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_logit_biases");
}

TEST_F(LimitsTest, max_sequence_biases) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  for (int i = 0; i <= kMaxSequenceBiases; ++i) {
    config.mutable_config()->mutable_sampling()->add_sequence_biases()->add_token_ids(1);
  }
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_sequence_biases");
}

TEST_F(LimitsTest, max_dry_breakers) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  for (int i = 0; i <= kMaxDryBreakers; ++i) {
    config.mutable_config()->mutable_sampling()->mutable_dry()->add_breakers()->add_token_ids(1);
  }
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_dry_breakers");
}

TEST_F(LimitsTest, max_dry_breaker_tokens) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  config.mutable_config()->mutable_sampling()->mutable_dry()->add_breakers()->mutable_token_ids()->Resize(
      kMaxDryBreakerTokens + 1, 0);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_dry_breaker_tokens");
}

TEST_F(LimitsTest, max_list_tokens) {
  v1::DecodeRequest config = Config("vocab_size: 4");
  config.mutable_config()->mutable_sampling()->add_sequence_biases()->mutable_token_ids()->Resize(kMaxListTokens, 0);
  config.mutable_config()->mutable_sampling()->mutable_dry()->add_breakers()->add_token_ids(1);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_list_tokens");
}

TEST_F(LimitsTest, max_stops) {
  v1::DecodeRequest config = Config("vocab_size: 2000");
  for (int i = 0; i <= kMaxStops; ++i) config.mutable_config()->add_end_token_ids(i);
  EXPECT_EQ(LimitOf(Decode({config}).status), "max_stops");
}

TEST_F(LimitsTest, max_excluded_tokens) {
  auto request = Parse<v1::ComputeDistributionRequest>("logits { float_values: [1, 2] } sampling { temperature: 0.5 }");
  request.mutable_excluded_token_ids()->Resize(kMaxExcludedTokens, 0);
  v1::ComputeDistributionResponse response;
  EXPECT_TRUE(decoding_->ComputeDistribution(Context().get(), request, &response).ok());
  request.add_excluded_token_ids(0);
  EXPECT_EQ(LimitOf(decoding_->ComputeDistribution(Context().get(), request, &response)), "max_excluded_tokens");
}

TEST_F(LimitsTest, max_alternatives) {
  Attach({.context_length = 1024});
  EXPECT_EQ(
      LimitOf(Generate("prompt { tokens { token_ids: 5 } } n: 128 stop { max_tokens: 200 } record { top_n: 64 }")),
      "max_alternatives");
}

TEST_F(LimitsTest, max_n) {
  Attach();
  EXPECT_EQ(LimitOf(Generate("prompt { tokens { token_ids: 5 } } n: 129")), "max_n");
}

TEST_F(LimitsTest, max_generated_tokens) {
  Attach({.context_length = 4096});
  EXPECT_EQ(LimitOf(Generate("prompt { tokens { token_ids: 5 } } n: 128 stop { max_tokens: 2049 }")),
            "max_generated_tokens");
}

TEST_F(LimitsTest, max_items) {
  Attach();
  v1::ScoreRequest request;
  for (int i = 0; i <= kMaxItems; ++i) AddItem(request, 1, 1);
  EXPECT_EQ(LimitOf(Score(request)), "max_items");
}

TEST_F(LimitsTest, max_continuations) {
  Attach();
  v1::ScoreRequest request;
  AddItem(request, 1, kMaxContinuations + 1);
  EXPECT_EQ(LimitOf(Score(request)), "max_continuations");
}

// What is wrong with an item alone is its error.
TEST_F(LimitsTest, max_id_bytes) {
  Attach();
  std::vector<v1::ScoreResponse> responses;
  EXPECT_TRUE(InProcessServer::Score("items { id: '" + std::string(kMaxIdBytes, 'i') +
                                         "' continuations { text: 'a' } } items { id: '" +
                                         std::string(kMaxIdBytes + 1, 'i') + "' continuations { text: 'a' } }",
                                     &responses)
                  .ok());
  ASSERT_EQ(responses.size(), 2u);
  EXPECT_FALSE(responses[0].item().has_error());
  EXPECT_EQ(LimitOf(responses[1].item().error()), "max_id_bytes");
}

TEST_F(LimitsTest, max_segments) {
  Attach();
  std::string prompt = "prompt { ";
  for (int i = 0; i <= kMaxSegments; ++i) prompt += "segments { text: 'a' } ";
  EXPECT_EQ(LimitOf(Generate(prompt + "}")), "max_segments");
}

TEST_F(LimitsTest, max_candidates) {
  Attach();
  v1::RankRequest request;
  v1::RankItem& item = *request.add_items();
  item.mutable_context()->mutable_tokens()->add_token_ids(5);
  for (int i = 0; i <= kMaxCandidates; ++i) item.add_candidates();
  std::vector<v1::RankResponse> responses;
  EXPECT_EQ(LimitOf(Rank(request, &responses)), "max_candidates");
}

TEST_F(LimitsTest, max_score_tokens) {
  Attach({.context_length = 131'072});
  v1::ScoreRequest request;
  for (int i = 0; i < 5; ++i) AddItem(request, 110'000, 1);
  EXPECT_EQ(LimitOf(Score(request)), "max_score_tokens");
}

TEST_F(LimitsTest, max_score_sequences) {
  auto rows = Parse<v1::ScoreLogitsRequest>(
      "rows { sequence_index: 4096 target_token_ids: 0 blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 1 } }");
  rows.set_payload(std::string(4, '\0'));
  std::vector<v1::ScoreLogitsResponse> responses;
  EXPECT_EQ(LimitOf(ScoreLogits({Parse<v1::ScoreLogitsRequest>("config { vocab_size: 1 }"), rows}, &responses)),
            "max_score_sequences");
}

TEST_F(LimitsTest, max_text_bytes) {
  Attach();
  v1::TokenizeRequest request;
  request.add_texts(std::string(kMaxTextBytes + 1, 'a'));
  v1::TokenizeResponse response;
  EXPECT_EQ(LimitOf(models_->Tokenize(Context().get(), request, &response)), "max_text_bytes");
}

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
    v1::AttachRequest hello;
    *hello.mutable_hello()->mutable_model() = model.Info();
    *hello.mutable_hello()->mutable_capabilities() = model.Capabilities();
    *hello.mutable_hello()->mutable_capacity() = model.Capacity();
    hello.mutable_hello()->set_api_major_version(kApiMajorVersion);
    v1::AttachRequest vocabulary;
    *vocabulary.mutable_vocabulary() = model.Vocabulary();
    ASSERT_TRUE(runner.stream->Write(hello));
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

// A limit's value as docs/operations.md shows it: "64 MiB", "1,024", or the flag that sets it.
std::string Documented(const std::string& name, int64_t value) {
  for (const char* flag : {"max_calls", "max_open_streams", "max_idle", "max_stall"}) {
    if (name != flag && name != flag + std::string("_ms")) continue;
    std::string shown = std::string("`--") + flag + "`";
    std::replace(shown.begin(), shown.end(), '_', '-');
    return shown;
  }
  for (const auto& [shift, unit] : {std::pair{30, " GiB"}, {20, " MiB"}, {10, " KiB"}}) {
    if (name.find("_bytes") != std::string::npos && value % (int64_t{1} << shift) == 0)
      return std::to_string(value >> shift) + unit;
  }
  std::string digits = std::to_string(value);
  for (size_t i = digits.size(); i > 3;) digits.insert(i -= 3, ",");
  return digits;
}

// The table of GetServerInfo is complete, and so are the cases above; docs/operations.md has the same values.
TEST(LimitsTableTest, EveryLimitHasAValueAndACase) {
  std::set<std::string> cases;
  const auto& tests = *::testing::UnitTest::GetInstance();
  for (int i = 0; i < tests.total_test_suite_count(); ++i) {
    const auto& suite = *tests.GetTestSuite(i);
    if (std::string(suite.name()) != "LimitsTest") continue;
    for (int j = 0; j < suite.total_test_count(); ++j) cases.insert(suite.GetTestInfo(j)->name());
  }
  const auto server = Server::Start({.listen = {"127.0.0.1:0"}});
  ASSERT_TRUE(server.ok());
  const auto stub =
      v1::ServerService::NewStub(grpc::CreateChannel((*server)->addresses()[0], grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GetServerInfoResponse response;
  ASSERT_TRUE(stub->GetServerInfo(&context, {}, &response).ok());
  std::ifstream file(LOGITD_DOCS_DIR "/operations.md");
  const std::string document{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::set<std::string> fields;
  const auto& descriptor = *v1::Limits::descriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    fields.insert(descriptor.field(i)->name());
    const auto& field = *descriptor.field(i);
    const auto& reflection = *v1::Limits::GetReflection();
    EXPECT_TRUE(reflection.HasField(response.limits(), &field)) << field.name() << " is not reported";
    const int64_t value = field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64
                              ? reflection.GetInt64(response.limits(), &field)
                              : reflection.GetInt32(response.limits(), &field);
    const std::string row = "| `" + field.name() + "` | " + Documented(field.name(), value) + " |";
    EXPECT_NE(document.find(row), std::string::npos) << "docs/operations.md has no " << row;
  }
  EXPECT_EQ(cases, fields);
}

}  // namespace
}  // namespace logitd::server
