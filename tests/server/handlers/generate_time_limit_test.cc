// Generate: StopCriteria.time_limit_ms.
#include <atomic>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProto;
using logitd::testing::FakeModelOptions;
using logitd::testing::Parse;

class GenerateTimeLimitTest : public logitd::testing::InProcessServer {
 protected:
  // Attaches a model that stops before its batch `batch`, counted from 0, until the test ends or calls Release.
  void AttachStuck(int batch, FakeModelOptions options = {}) {
    release_.emplace();
    options.before_batch = [this, batch, released = release_->get_future().share()](const v1::RunBatch&) {
      if (batches_++ == batch) released.wait();
    };
    Attach(options);
  }
  void Release() {
    if (release_) release_->set_value();
    release_.reset();
  }
  void TearDown() override {
    Release();
    InProcessServer::TearDown();
  }
  v1::GenerateFinal Final(const std::string& request) {
    responses_.clear();
    const grpc::Status status = Generate(Parse<v1::GenerateRequest>(request), &responses_);
    EXPECT_TRUE(status.ok()) << Describe(status);
    return responses_.empty() ? v1::GenerateFinal() : responses_.back().final();
  }

  std::vector<v1::GenerateResponse> responses_;

 private:
  std::optional<std::promise<void>> release_;
  std::atomic<int> batches_ = 0;
};

TEST_F(GenerateTimeLimitTest, WhatHasComeIsCompleteAndRight) {
  for (const bool choice : {true, false}) {
    FakeModelOptions options;
    options.choice = choice;
    Attach(options);
    const std::string request = "prompt { text: 'the cat' } n: 2 sampling { temperature: 1.5 seed: 3 } ";
    const v1::GenerateFinal whole = Final(request + "stop { ignore_eos: true max_tokens: 20 }");
    fake_.reset();
    // Four batches are evaluated, and the fifth never ends.
    std::promise<void> release;
    std::atomic<int> batches = 0;
    options.before_batch = [&, released = release.get_future().share()](const v1::RunBatch&) {
      if (batches++ == 4) released.wait();
    };
    Attach(options);
    const v1::GenerateFinal final = Final(request + "stop { ignore_eos: true max_tokens: 20 time_limit_ms: 300 }");
    release.set_value();
    ASSERT_EQ(final.completions_size(), 2);
    for (int i = 0; i < 2; ++i) {
      SCOPED_TRACE(i);
      const v1::Completion& completion = final.completions(i);
      EXPECT_THAT(completion.finish(), EqualsProto("reason: FINISH_REASON_TIME_LIMIT"));
      ASSERT_GE(completion.tokens_size(), 1);
      ASSERT_LT(completion.tokens_size(), 20);
      v1::GenerateRequest shorter = Parse<v1::GenerateRequest>(request + "stop { ignore_eos: true }");
      for (int t = 0; t < completion.tokens_size(); ++t) {
        EXPECT_THAT(completion.tokens(t), EqualsProto(whole.completions(i).tokens(t)));
      }
      EXPECT_EQ(completion.totals().token_count(), completion.tokens_size());
      EXPECT_TRUE(whole.completions(i).text().starts_with(completion.text()));
      // The deltas say the same.
      std::string text;
      int token_count = 0;
      bool has_ended = false;
      for (const v1::GenerateResponse& response : responses_) {
        if (!response.has_delta() || response.delta().index() != i) continue;
        EXPECT_FALSE(has_ended);
        text += response.delta().text();
        token_count += response.delta().tokens_size();
        has_ended = response.delta().has_finish();
      }
      EXPECT_TRUE(has_ended);
      EXPECT_EQ(text, completion.text());
      EXPECT_EQ(token_count, completion.tokens_size());
    }
    fake_.reset();
  }
}

TEST_F(GenerateTimeLimitTest, ACompletionThatWaitsForARunnerEndsEmpty) {
  AttachStuck(0);
  const v1::GenerateFinal final = Final("prompt { text: 'a b' } n: 3 prompt_record { } stop { time_limit_ms: 50 }");
  ASSERT_EQ(final.completions_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(final.completions(i),
                EqualsProto("index: " + std::to_string(i) + " sequence_key: " + std::to_string(i) +
                            " totals { token_count: 0 } byte_count: 0 character_count: 0 "
                            "finish { reason: FINISH_REASON_TIME_LIMIT }"));
  }
  EXPECT_FALSE(final.has_prompt()) << "it was not scored in time";
  // Alone it is just as little.
  const v1::GenerateFinal alone =
      Final("prompt { text: 'a b' } prompt_record { } stop { time_limit_ms: 50 max_tokens: 0 }");
  EXPECT_EQ(alone.completions(0).finish().reason(), v1::FINISH_REASON_TIME_LIMIT);
  // The server goes on.
  Release();
  EXPECT_EQ(Final("prompt { text: 'a' } stop { max_tokens: 2 ignore_eos: true time_limit_ms: 60000 }")
                .completions(0)
                .finish()
                .reason(),
            v1::FINISH_REASON_MAX_TOKENS);
}

TEST_F(GenerateTimeLimitTest, ACompletionThatWaitsForRoomEndsEmpty) {
  FakeModelOptions options;
  options.max_sequences = 1;
  AttachStuck(2, options);
  // It has the only sequence, and its third batch is stuck.
  const auto context = Context();
  const auto reader = generation_->Generate(
      context.get(), Parse<v1::GenerateRequest>("prompt { text: 'a' } stop { ignore_eos: true max_tokens: 40 }"));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ASSERT_TRUE(reader->Read(&response));
  const v1::GenerateFinal final = Final("prompt { text: 'a' } stop { time_limit_ms: 50 }");
  EXPECT_EQ(final.completions(0).finish().reason(), v1::FINISH_REASON_TIME_LIMIT);
  EXPECT_EQ(final.completions(0).tokens_size(), 0);
  EXPECT_EQ(final.usage().evaluated_token_count(), 0) << "nobody was asked";
  Release();
  while (reader->Read(&response)) continue;
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(GenerateTimeLimitTest, TheDeadlineOfTheCallIsAnErrorAllTheSame) {
  AttachStuck(0);
  const auto context = Context();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  const auto reader = generation_->Generate(
      context.get(), Parse<v1::GenerateRequest>("prompt { text: 'a' } stop { time_limit_ms: 60000 }"));
  v1::GenerateResponse response;
  while (reader->Read(&response)) EXPECT_FALSE(response.has_final());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(GenerateTimeLimitTest, HeldBackTextComesAtTheEnd) {
  Attach();
  const std::string request = "prompt { text: 'the cat' } sampling { temperature: 2 seed: 5 } stop { ignore_eos: true ";
  const v1::GenerateFinal whole = Final(request + "max_tokens: 2 }");
  const std::string text = whole.completions(0).text();
  ASSERT_FALSE(text.empty());
  fake_.reset();
  AttachStuck(2);
  // All of it may become the stop string.
  v1::GenerateRequest limited = Parse<v1::GenerateRequest>(request + "time_limit_ms: 300 max_tokens: 40 }");
  limited.mutable_stop()->add_stop_strings(text + "qqqq");
  std::vector<v1::GenerateResponse> responses;
  ASSERT_TRUE(Generate(limited, &responses).ok());
  const v1::Completion& completion = responses.back().final().completions(0);
  EXPECT_EQ(completion.finish().reason(), v1::FINISH_REASON_TIME_LIMIT);
  ASSERT_GE(completion.tokens_size(), 1);
  EXPECT_THAT(completion.tokens(0), EqualsProto(whole.completions(0).tokens(0)));
  EXPECT_EQ(completion.totals().token_count(), completion.tokens_size());
  EXPECT_TRUE(text.starts_with(completion.text()));
  EXPECT_FALSE(completion.text().empty());
}

}  // namespace
}  // namespace logitd::server
