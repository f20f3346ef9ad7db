// The library against a server in this process, over a Unix socket: what the wire does to messages and errors.
#include "client/logitd/client.h"

#include <stdlib.h>
#include <unistd.h>

#include "client/logitd/client_error.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server_builder.h"

namespace logitd::client {
namespace {

using ::testing::ElementsAre;

grpc::Status Refusal(const v1::Error& error) {
  google::rpc::Status status;
  status.set_code(error.code());
  status.add_details()->PackFrom(error);
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()), error.message(), status.SerializeAsString());
}

v1::Error EmptyPrompt() {
  v1::Error error;
  error.set_code(3);
  error.set_reason(v1::ERROR_REASON_EMPTY_PROMPT);
  error.set_message("prompt must have at least one token, got 0");
  error.set_field("prompt");
  return error;
}

// Completes each prompt with its own letters, one delta a letter; the prompt "" is refused, "no final" ends early.
class FakeGeneration final : public v1::GenerationService::Service {
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    const std::string& prompt = request->prompt().text();
    if (prompt.empty()) return Refusal(EmptyPrompt());
    v1::GenerateResponse response;
    response.mutable_started()->set_seed(7);
    writer->Write(response);
    for (const char letter : prompt) {
      response.mutable_delta()->set_text(std::string(1, letter));
      if (!writer->Write(response)) return Cancelled(*context);
    }
    if (prompt == "endless") {
      while (writer->Write(response)) {
      }
      return Cancelled(*context);
    }
    if (prompt == "no final") return grpc::Status::OK;
    response.mutable_final()->add_completions()->set_text(prompt);
    response.mutable_final()->set_seed(7);
    writer->Write(response);
    return grpc::Status::OK;
  }

  // A client may cancel at any letter.
  grpc::Status Cancelled(const grpc::ServerContext& context) {
    was_cancelled.store(context.IsCancelled());
    return grpc::Status::CANCELLED;
  }

 public:
  std::atomic<bool> was_cancelled = false;
};

// Answers a batch with one step per row, token = first byte of the row; a batch id of 99 is refused.
class FakeDecoding final : public v1::DecodingService::Service {
  grpc::Status Decode(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<v1::DecodeResponse, v1::DecodeRequest>* stream) override {
    v1::DecodeRequest request;
    if (!stream->Read(&request) || !request.has_config()) return Refusal(EmptyPrompt());
    if (request.config().vocab_size() == 0) return Refusal(EmptyPrompt());
    v1::DecodeResponse response;
    response.mutable_started()->set_seed(11);
    stream->Write(response);
    while (stream->Read(&request)) {
      if (request.batch().batch_id() == 99) return Refusal(EmptyPrompt());
      response.Clear();
      response.mutable_result()->set_batch_id(request.batch().batch_id());
      for (const char byte : request.payload()) {
        response.mutable_result()->add_steps()->mutable_chosen()->add_tokens()->set_token_id(byte);
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status ComputeDistribution(grpc::ServerContext* context, const v1::ComputeDistributionRequest* request,
                                   v1::ComputeDistributionResponse* response) override {
    response->set_kept_count(static_cast<int>(request->logits().values().size()));
    // A reply of the request's size, so that both caps are met.
    response->mutable_probabilities()->Resize(static_cast<int>(request->logits().values().size() / 8), 0.5);
    return grpc::Status::OK;
  }
};

class FakeScoring final : public v1::ScoringService::Service {
  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     grpc::ServerWriter<v1::ScoreResponse>* writer) override {
    for (int i = request->items_size() - 1; i >= 0; --i) {
      v1::ScoreResponse response;
      response.set_item_index(i);
      writer->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status Rank(grpc::ServerContext* context, const v1::RankRequest* request,
                    grpc::ServerWriter<v1::RankResponse>* writer) override {
    for (int i = request->items_size() - 1; i >= 0; --i) {
      v1::RankResponse response;
      response.set_item_index(i);
      writer->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status Decide(grpc::ServerContext* context, const v1::DecideRequest* request,
                      grpc::ServerWriter<v1::DecideResponse>* writer) override {
    for (int i = request->items_size() - 1; i >= 0; --i) {
      v1::DecideResponse response;
      response.set_item_index(i);
      writer->Write(response);
    }
    return grpc::Status::OK;
  }

  // Answers each rows message with a sequence of as many tokens as its payload has bytes, before it reads the next;
  // refuses an empty payload.
  grpc::Status ScoreLogits(grpc::ServerContext* context,
                           grpc::ServerReaderWriter<v1::ScoreLogitsResponse, v1::ScoreLogitsRequest>* stream) override {
    v1::ScoreLogitsRequest request;
    if (!stream->Read(&request) || !request.has_config()) return Refusal(EmptyPrompt());
    v1::ScoreLogitsResponse response;
    response.mutable_provenance()->set_numerics_version(request.config().vocab_size());
    while (stream->Read(&request)) {
      if (request.payload().empty()) return Refusal(EmptyPrompt());
      response.set_sequence_index(request.rows().sequence_index());
      response.mutable_score()->mutable_totals()->set_token_count(static_cast<int>(request.payload().size()));
      // Much larger than what the client may leave unread.
      response.mutable_error()->set_message(std::string(10'000, 'x'));
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
};

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    char folder[] = "/tmp/logitd-client-test-XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    options_.address = "unix:" + folder_ + "/server.sock";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(options_.address, grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.RegisterService(&generation_);
    builder.RegisterService(&decoding_);
    builder.RegisterService(&scoring_);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
    client_ = *Client::Connect(options_);
  }
  ~ClientTest() override {
    client_.reset();
    server_->Shutdown();
    unlink((folder_ + "/server.sock").c_str());
    rmdir(folder_.c_str());
  }

  v1::GenerateRequest Prompt(const std::string& text) {
    v1::GenerateRequest request;
    request.mutable_prompt()->set_text(text);
    return request;
  }

  std::string folder_;
  Options options_;
  FakeGeneration generation_;
  FakeDecoding decoding_;
  FakeScoring scoring_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, CompleteStreamsDeltasAndReturnsTheFinalMessage) {
  std::string streamed;
  uint64_t seed = 0;
  const auto final = client_->Complete(
      Prompt("abc"),
      [&](const v1::CompletionDelta& delta) {
        streamed += delta.text();
        return true;
      },
      [&](const v1::GenerateStarted& started) {
        seed = started.seed();
        return true;
      });
  ASSERT_TRUE(final.ok()) << final.status();
  EXPECT_EQ(streamed, "abc");
  EXPECT_EQ(seed, 7);
  EXPECT_EQ(final->completions(0).text(), "abc");
}

TEST_F(ClientTest, ARefusalArrivesWithItsDetails) {
  const auto final = client_->Complete(Prompt(""));
  ASSERT_FALSE(final.ok());
  const ClientError error = ErrorOf(final.status());
  EXPECT_EQ(error.code, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(error.reason, "EMPTY_PROMPT");
  EXPECT_EQ(error.field, "prompt");
}

TEST_F(ClientTest, AStreamWithoutItsFinalMessageIsAnError) {
  EXPECT_EQ(client_->Complete(Prompt("no final")).status().code(), absl::StatusCode::kInternal);
}

TEST_F(ClientTest, ACallbackCancelsTheCall) {
  const auto final = client_->Complete(Prompt("endless"), [](const v1::CompletionDelta&) { return false; });
  EXPECT_EQ(final.status().code(), absl::StatusCode::kCancelled);
  server_->Shutdown();  // Returns once the handler has.
  EXPECT_TRUE(generation_.was_cancelled.load());
}

TEST_F(ClientTest, TheTimeoutEndsACallThatTakesTooLong) {
  options_.timeout = std::chrono::milliseconds(50);
  const auto client = *Client::Connect(options_);
  EXPECT_EQ(client->Complete(Prompt("endless")).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, ScoreHandsOverItemsAsTheyCome) {
  v1::ScoreRequest request;
  for (int i = 0; i < 3; ++i) request.add_items();
  std::vector<int> indices;
  const absl::Status status = client_->Score(request, [&](v1::ScoreResponse response) {
    indices.push_back(response.item_index());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(indices, ElementsAre(2, 1, 0));
}

TEST_F(ClientTest, RankHandsOverItemsAsTheyCome) {
  v1::RankRequest request;
  for (int i = 0; i < 3; ++i) request.add_items();
  std::vector<int> indices;
  const absl::Status status = client_->Rank(request, [&](v1::RankResponse response) {
    indices.push_back(response.item_index());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(indices, ElementsAre(2, 1, 0));
}

TEST_F(ClientTest, DecideHandsOverItemsAsTheyCome) {
  v1::DecideRequest request;
  for (int i = 0; i < 3; ++i) request.add_items();
  std::vector<int> indices;
  const absl::Status status = client_->Decide(request, [&](v1::DecideResponse response) {
    indices.push_back(response.item_index());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(indices, ElementsAre(2, 1, 0));
}

TEST_F(ClientTest, ScoreLogitsAsksForRowsUntilThereAreNoMore) {
  v1::ScoreLogitsConfig config;
  config.set_vocab_size(4);
  int calls = 0;
  std::vector<v1::ScoreLogitsResponse> responses;
  const absl::Status status = client_->ScoreLogits(
      config,
      [&](v1::ScoreLogitsRows& rows, std::string& payload) {
        EXPECT_TRUE(payload.empty());
        EXPECT_EQ(rows.target_token_ids_size(), 0);
        rows.add_target_token_ids(1);
        payload.assign(++calls, 'x');
        return calls < 4;
      },
      [&](v1::ScoreLogitsResponse response) {
        responses.push_back(std::move(response));
        return true;
      });
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(responses.size(), 3u);
  EXPECT_EQ(responses[0].provenance().numerics_version(), 4);
  EXPECT_EQ(responses[2].score().totals().token_count(), 3);
}

TEST_F(ClientTest, ScoreLogitsReadsWhileItWrites) {
  // 20 MB of replies, each written by the server before it reads on: who reads only at the end would wait forever.
  int calls = 0;
  int replies = 0;
  const absl::Status status = client_->ScoreLogits(
      {},
      [&](v1::ScoreLogitsRows&, std::string& payload) {
        payload.assign(10'000, 'x');
        return ++calls <= 2000;
      },
      [&](const v1::ScoreLogitsResponse&) {
        ++replies;
        return true;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(replies, 2000);
}

TEST_F(ClientTest, ACallbackCancelsScoreLogits) {
  const absl::Status status = client_->ScoreLogits(
      {},
      [](v1::ScoreLogitsRows&, std::string& payload) {
        payload = "x";
        return true;
      },
      [](const v1::ScoreLogitsResponse&) { return false; });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  server_->Shutdown();  // Returns once the handler has.
}

TEST_F(ClientTest, ScoreLogitsStopsAtTheServersRefusal) {
  int calls = 0;
  const absl::Status status = client_->ScoreLogits(
      {},
      [&](v1::ScoreLogitsRows&, std::string& payload) {
        // Endless, except for the refusal of the third.
        if (++calls != 3) payload.assign(1 << 20, 'x');
        return true;
      },
      [](const v1::ScoreLogitsResponse&) { return true; });
  EXPECT_EQ(ErrorOf(status).reason, "EMPTY_PROMPT");
}

TEST_F(ClientTest, AnErrorOfTheRowsCancelsScoreLogits) {
  const absl::Status status = client_->ScoreLogits(
      {},
      [&](v1::ScoreLogitsRows&, std::string&) -> absl::StatusOr<bool> {
        return absl::DataLossError("the file is gone");
      },
      [](const v1::ScoreLogitsResponse&) { return true; });
  EXPECT_EQ(status, absl::DataLossError("the file is gone"));
  server_->Shutdown();  // Returns once the handler has: the call is not left open.
}

TEST_F(ClientTest, AMessageAboveGrpcsDefaultCapPasses) {
  v1::ComputeDistributionRequest request;
  request.mutable_logits()->mutable_values()->assign(32 << 20, 'x');
  const auto response = client_->ComputeDistribution(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->kept_count(), 32 << 20);
  EXPECT_EQ(response->probabilities_size(), 4 << 20);
}

TEST_F(ClientTest, DecodeStepsAndFinishes) {
  v1::DecodeConfig config;
  config.set_vocab_size(4);
  const auto stream = client_->Decode(config);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ((*stream)->started().seed(), 11);
  for (int id = 1; id <= 3; ++id) {
    v1::StepBatch batch;
    batch.set_batch_id(id);
    const auto result = (*stream)->Step(batch, std::string(2, static_cast<char>(id)));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->batch_id(), id);
    ASSERT_EQ(result->steps_size(), 2);
    EXPECT_EQ(result->steps(1).chosen().tokens(0).token_id(), id);
  }
  EXPECT_TRUE((*stream)->Finish().ok());
  EXPECT_TRUE((*stream)->Finish().ok());
  EXPECT_EQ((*stream)->Step({}, "").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClientTest, DecodeReportsWhyTheStreamEnded) {
  EXPECT_EQ(ErrorOf(client_->Decode({}).status()).reason, "EMPTY_PROMPT");
  v1::DecodeConfig config;
  config.set_vocab_size(4);
  const auto stream = client_->Decode(config);
  ASSERT_TRUE(stream.ok());
  v1::StepBatch batch;
  batch.set_batch_id(99);
  EXPECT_EQ(ErrorOf((*stream)->Step(batch, "").status()).reason, "EMPTY_PROMPT");
  EXPECT_EQ(ErrorOf((*stream)->Finish()).reason, "EMPTY_PROMPT");
}

TEST_F(ClientTest, ADecodeStreamMayBeDroppedUnfinished) {
  v1::DecodeConfig config;
  config.set_vocab_size(4);
  ASSERT_TRUE(client_->Decode(config).ok());
}

TEST(ClientConnectTest, NobodyThereIsUnreachable) {
  const auto client = *Client::Connect({.address = "unix:/nonexistent/logitd.sock"});
  const auto info = client->ServerInfo();
  ASSERT_FALSE(info.ok());
  EXPECT_TRUE(ErrorOf(info.status()).is_unreachable()) << info.status();
}

TEST(ClientConnectTest, AMalformedAddressIsRefusedAtOnce) {
  EXPECT_EQ(Client::Connect({.address = "nowhere"}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace logitd::client
