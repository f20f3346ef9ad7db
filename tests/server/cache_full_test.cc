// Many clients whose completions together are far more than the runner's cache holds.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::FakeModelOptions;

constexpr int kClients = 16;

class CacheFullTest : public logitd::testing::InProcessServer {
 protected:
  // The full size takes a quarter of a minute.
  const bool is_long_ = std::getenv("LOGITD_LONG") != nullptr;
  const int tokens_ = is_long_ ? 4000 : 500;
  const int64_t cache_tokens_ = is_long_ ? 16384 : 2048;

  FakeModelOptions Options(int64_t cache_tokens) const {
    FakeModelOptions options;
    options.context_length = tokens_ + 100;
    options.max_cached_tokens = cache_tokens;
    return options;
  }

  v1::GenerateRequest Request(int client) const {
    v1::GenerateRequest request;
    for (int i = 0; i < 8; ++i) request.mutable_prompt()->mutable_tokens()->add_token_ids(2 + (client * 7 + i) % 60);
    request.mutable_sampling()->set_temperature(0.8);
    request.mutable_sampling()->set_top_p(0.95);
    request.mutable_sampling()->set_seed(static_cast<uint64_t>(client));
    request.mutable_stop()->set_max_tokens(tokens_);
    request.mutable_stop()->set_ignore_eos(true);
    return request;
  }

  // The tokens of each client's completion; empty where it failed.
  std::vector<std::vector<int32_t>> RunAll(bool together) {
    std::vector<std::vector<int32_t>> tokens(kClients);
    const auto run = [&](int client) {
      std::vector<v1::GenerateResponse> responses;
      const grpc::Status status = Generate(Request(client), &responses);
      EXPECT_TRUE(status.ok()) << status.error_message();
      for (const v1::GenerateResponse& response : responses) {
        for (const v1::TokenRecord& record : response.delta().tokens()) tokens[client].push_back(record.token_id());
      }
    };
    std::vector<std::thread> threads;
    for (int client = 0; client < kClients; ++client) {
      threads.emplace_back(run, client);
      if (!together) threads.back().join();
    }
    if (together) {
      for (std::thread& thread : threads) thread.join();
    }
    return tokens;
  }
};

TEST_F(CacheFullTest, ClientsRunTogetherUntilItIsFullAndGetTheSameTokens) {
  Attach(Options(int64_t{1} << 20));
  const std::vector<std::vector<int32_t>> undisturbed = RunAll(/*together=*/false);
  Attach(Options(cache_tokens_));
  const std::vector<std::vector<int32_t>> tokens = RunAll(/*together=*/true);
  for (int client = 0; client < kClients; ++client) {
    EXPECT_EQ(std::ssize(tokens[client]), tokens_) << client;
    EXPECT_EQ(tokens[client], undisturbed[client]) << client;
  }
  EXPECT_EQ(fake_->model().largest_batch(), kClients) << "all of them at once";
  const int64_t generated = int64_t{kClients} * tokens_;
  const int64_t again = fake_->model().token_count() - generated - kClients * 8;
  RecordProperty("evaluated_again", std::to_string(again));
  EXPECT_GT(again, 0) << "the cache was never full";
  EXPECT_LE(again, generated);
}

// All completions of a prompt run until the half of the cache that is theirs is full; the others wait for them.
TEST_F(CacheFullTest, ManyLongCompletionsOfOnePrompt) {
  v1::GenerateRequest request = Request(3);
  request.set_n(16);
  request.set_stream(false);
  request.mutable_stop()->set_max_tokens(400);
  for (const bool choice : {true, false}) {
    FakeModelOptions options = Options(int64_t{1} << 20);
    options.choice = choice;
    Attach(options);
    std::vector<v1::GenerateResponse> undisturbed;
    EXPECT_TRUE(Generate(request, &undisturbed).ok());
    options.max_cached_tokens = 4096;
    Attach(options);
    std::vector<v1::GenerateResponse> responses;
    const grpc::Status status = Generate(request, &responses);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(fake_->model().largest_batch(), 16);
    // 6,400 tokens where 2,048 have room.
    EXPECT_GT(fake_->model().token_count(), 16 * 399 + 8);
    EXPECT_LE(fake_->model().token_count(), 2 * 16 * 399);
    ASSERT_EQ(responses.back().final().completions_size(), 16);
    for (int i = 0; i < 16; ++i) {
      EXPECT_EQ(responses.back().final().completions(i).SerializeAsString(),
                undisturbed.back().final().completions(i).SerializeAsString());
    }
  }
}

// Who reads nothing holds nothing, also while what it does not read is the prompt's own records.
TEST_F(CacheFullTest, AClientThatReadsNothingOfItsPromptIsInNobodysWay) {
  Start({.max_stall = std::chrono::minutes(5)});
  Attach(Options(1000));
  v1::GenerateRequest request;
  for (int i = 0; i < 600; ++i) request.mutable_prompt()->mutable_tokens()->add_token_ids(2 + i % 60);
  request.mutable_prompt_record()->set_top_n(64);
  v1::GenerateRequest large = request;
  large.clear_prompt_record();
  large.mutable_stop()->set_max_tokens(1);
  grpc::ChannelArguments small_window;
  small_window.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  small_window.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  const auto client = v1::GenerationService::NewStub(NewChannel(small_window));
  for (const int max_tokens : {0, 5}) {
    request.mutable_stop()->set_max_tokens(max_tokens);
    const auto context = Context();
    const auto unread = client->Generate(context.get(), request);
    v1::GenerateResponse response;
    ASSERT_TRUE(unread->Read(&response));
    // Its cache is needed: this one waits until it is given back.
    std::vector<v1::GenerateResponse> responses;
    const grpc::Status status = Generate(large, &responses);
    EXPECT_TRUE(status.ok()) << status.error_message();
    context->TryCancel();
    while (unread->Read(&response)) continue;
    unread->Finish();
  }
}

TEST_F(CacheFullTest, CompletionsOfSeveralPrompts) {
  Attach(Options(int64_t{1} << 20));
  std::vector<std::vector<v1::GenerateResponse>> undisturbed(4);
  std::vector<std::vector<v1::GenerateResponse>> together(4);
  const auto request = [this](size_t client) {
    v1::GenerateRequest request = Request(static_cast<int>(client));
    request.set_n(3);
    request.set_stream(false);
    request.mutable_stop()->set_max_tokens(400);
    return request;
  };
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(Generate(request(i), &undisturbed[i]).ok());
  Attach(Options(2560));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { EXPECT_TRUE(Generate(request(i), &together[i]).ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_FALSE(together[i].empty());
    ASSERT_EQ(together[i].back().final().completions_size(), 3);
    for (int j = 0; j < 3; ++j) {
      EXPECT_EQ(together[i].back().final().completions(j).SerializeAsString(),
                undisturbed[i].back().final().completions(j).SerializeAsString());
    }
  }
}

}  // namespace
}  // namespace logitd::server
