// Runners whose rows are hidden states: the server's head makes logits of them before anything else looks at them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/scorer.h"
#include "core/softmax_head.h"
#include "tests/server/in_process.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::Describe;
using ::logitd::testing::FakeModelOptions;
using ::logitd::testing::FakeOutcome;
using ::logitd::testing::FakeRow;
using ::logitd::testing::FakeTokens;
using ::logitd::testing::IsOk;
using ::logitd::testing::kFakeVocabSize;
using ::logitd::testing::Parse;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int32_t kHiddenSize = 20;

std::vector<float> Normal(size_t count, uint32_t seed) {
  std::mt19937 bits(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(bits() % 2001) / 4000.0f - 0.25f;
  return values;
}

NamedHead MakeHead(const std::string& name, int32_t vocab_size) {
  auto builder = SoftmaxHead::Builder::Make({vocab_size, kHiddenSize});
  EXPECT_THAT(builder->AddTokens(Normal(static_cast<size_t>(vocab_size) * kHiddenSize, 7)), IsOk());
  EXPECT_THAT(builder->SetOutputNorm(std::vector<float>(kHiddenSize, 2), 1e-5), IsOk());
  auto head = std::move(*builder).Build();
  EXPECT_THAT(head.status(), IsOk());
  return {.name = name, .head = *std::move(head)};
}

const Heads& TwoHeads() {
  static const Heads& heads = *new Heads({MakeHead("lm", kFakeVocabSize), MakeHead("small", kFakeVocabSize - 1)});
  return heads;
}

v1::HiddenOutput Hidden(const std::string& head, int32_t hidden_size, bool before_output_norm = false) {
  v1::HiddenOutput hidden;
  hidden.set_head(head);
  hidden.set_hidden_size(hidden_size);
  hidden.set_before_output_norm(before_output_norm);
  return hidden;
}

// The logits that the server should have after these tokens.
std::vector<float> LogitsAfter(const std::vector<TokenId>& tokens, bool before_output_norm = false) {
  std::vector<float> hidden = FakeRow(tokens);
  hidden.resize(kHiddenSize);
  const SoftmaxHead& head = *TwoHeads().list()[0].head;
  HiddenTile tile(kHiddenSize);
  EXPECT_THAT(tile.Add(hidden, before_output_norm ? head.output_norm() : nullptr), IsOk());
  std::vector<float> logits(kFakeVocabSize);
  head.columns().ComputeLogits(tile, logits);
  return logits;
}

class HiddenRunnerTest : public logitd::testing::InProcessServer {
 protected:
  void SetUp() override { Start({}, TwoHeads()); }
  // Why the server refuses such a runner.
  std::string Refused(FakeModelOptions options) {
    logitd::testing::AttachedFakeModel runner(server_->runner_address(), std::move(options));
    runner.WaitUntilAccepted();
    return std::string(runner.WaitUntilEnded().message());
  }
};

TEST_F(HiddenRunnerTest, ScoreHasTheLogProbsOfTheHeadsLogits) {
  for (const bool before_output_norm : {false, true}) {
    SCOPED_TRACE(before_output_norm);
    FakeModelOptions options;
    options.hidden = Hidden("lm", kHiddenSize, before_output_norm);
    auto& model = Attach(options);
    const std::vector<TokenId> context = FakeTokens("the cat");
    const std::vector<TokenId> continuation = FakeTokens(" sat on a mat");
    auto request = Parse<v1::ScoreRequest>("record { top_n: 3 rank: true entropy: true }");
    auto& item = *request.add_items();
    item.mutable_context()->mutable_tokens()->mutable_token_ids()->Add(context.begin(), context.end());
    item.add_continuations()->mutable_tokens()->mutable_token_ids()->Add(continuation.begin(), continuation.end());
    v1::ScoreResponse response;
    const auto call = Context();
    const auto reader = scoring_->Score(call.get(), request);
    ASSERT_TRUE(reader->Read(&response));
    ASSERT_FALSE(response.item().has_error()) << response.DebugString();
    const v1::ScoredSequence& score = response.item().continuations(0).score();
    ASSERT_EQ(score.tokens_size(), static_cast<int>(continuation.size()));
    EXPECT_EQ(response.provenance().head(), "lm");
    std::vector<TokenId> tokens = context;
    logitd::Distribution distribution;
    RecordOptions record;
    Scorer scorer(record, std::nullopt);
    for (size_t i = 0; i < continuation.size(); ++i) {
      const std::vector<float> logits = LogitsAfter(tokens, before_output_norm);
      const auto expected = scorer.Score(LogitsRow(logits), continuation[i], distribution);
      ASSERT_THAT(expected.status(), IsOk());
      EXPECT_EQ(score.tokens(static_cast<int>(i)).model_log_prob(), *expected->model_log_prob);
      tokens.push_back(continuation[i]);
    }
    EXPECT_GT(model.row_count(), 0);
    TearDown();
    Start({}, TwoHeads());
  }
}

TEST_F(HiddenRunnerTest, GenerateChoosesFromTheHeadsLogits) {
  FakeModelOptions options;
  options.hidden = Hidden("lm", kHiddenSize);
  options.end_token_ids = {};
  options.eos_token_id = std::nullopt;
  Attach(options);
  const std::vector<TokenId> prompt = FakeTokens("the cat");
  auto request = Parse<v1::GenerateRequest>("sampling { temperature: 0 } stop { max_tokens: 6 } n: 2");
  request.mutable_prompt()->mutable_tokens()->mutable_token_ids()->Add(prompt.begin(), prompt.end());
  const auto call = Context();
  const auto reader = generation_->Generate(call.get(), request);
  v1::GenerateResponse response;
  v1::GenerateFinal final;
  while (reader->Read(&response)) {
    if (response.has_final()) final = response.final();
  }
  ASSERT_TRUE(reader->Finish().ok());
  ASSERT_EQ(final.completions_size(), 2);
  std::vector<TokenId> tokens = prompt;
  for (int i = 0; i < 6; ++i) {
    const std::vector<float> logits = LogitsAfter(tokens);
    const auto largest = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    EXPECT_EQ(final.completions(0).tokens(i).token_id(), largest) << i;
    tokens.push_back(largest);
  }
  EXPECT_EQ(final.provenance().head(), "lm");
}

TEST_F(HiddenRunnerTest, ARunnerWithoutItsHeadOrOfAnotherShapeIsRefusedWithBothShapes) {
  FakeModelOptions options;
  options.hidden = Hidden("no", kHiddenSize);
  EXPECT_THAT(Refused(options), AllOf(HasSubstr("hello.hidden.head"), HasSubstr("\"no\""), HasSubstr("lm, small")));
  options.hidden = Hidden("", kHiddenSize);
  EXPECT_THAT(Refused(options), HasSubstr("must name a head"));
  options.hidden = Hidden("lm", kHiddenSize - 1);
  EXPECT_THAT(Refused(options), AllOf(HasSubstr("hello.hidden.hidden_size must be 20, got 19: axis d of rows"),
                                      HasSubstr("head \"lm\" (W [V = 64, d = 20])")));
  options.hidden = Hidden("small", kHiddenSize);
  EXPECT_THAT(Refused(options),
              AllOf(HasSubstr("axis V of logits [64]"), HasSubstr("head \"small\" (W [V = 63, d = 20])")));
  options.hidden = Hidden("lm", 0);
  EXPECT_THAT(Refused(options), HasSubstr("hello.hidden.hidden_size must be >= 1, got 0"));
}

TEST_F(HiddenRunnerTest, RunnersOfOneModelAgreeInTheirHead) {
  FakeModelOptions options;
  options.hidden = Hidden("lm", kHiddenSize);
  Attach(options);
  options.hidden = Hidden("lm", kHiddenSize, /*before_output_norm=*/true);
  EXPECT_THAT(Refused(options), HasSubstr("has a runner with another head, or none"));
  options.hidden.reset();
  options.records = false;
  options.choice = false;
  EXPECT_THAT(Refused(options), HasSubstr("has a runner with another head, or none"));
}

TEST_F(HiddenRunnerTest, AHiddenStateThatIsNotFiniteIsTheModelsFault) {
  FakeModelOptions options;
  options.hidden = Hidden("lm", kHiddenSize);
  options.outcome = [](std::span<const TokenId> tokens) {
    return tokens.size() == 4 ? FakeOutcome::kNoFiniteLogit : FakeOutcome::kRow;
  };
  Attach(options);
  auto request = Parse<v1::ScoreRequest>(R"(items { context { tokens { token_ids: [5, 6] } }
                                           continuations { tokens { token_ids: [7, 8, 9] } } })");
  const auto call = Context();
  const auto reader = scoring_->Score(call.get(), request);
  v1::ScoreResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.item().continuations(0).error().reason(), v1::ERROR_REASON_MODEL_OUTPUT_INVALID)
      << response.DebugString();
}

}  // namespace
}  // namespace logitd::server
