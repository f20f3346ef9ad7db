// What a step of Decode may bring besides its row, and the steps of a batch on several threads.
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/limits.h"
#include "server/handlers/decode.h"
#include "tests/server/decode_messages.h"
#include "tests/server/in_process.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::Bytes;
using ::logitd::testing::Describe;
using ::logitd::testing::IsOk;
using ::logitd::testing::Parse;

class DecodeStepsTest : public ::testing::Test {
 protected:
  v1::DecodeResponse Send(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    EXPECT_THAT(session_.Handle(request, {}, workspaces_, response), IsOk());
    return response;
  }
  // Opens sequence 1 in a new stream.
  void Open(const std::string& config) {
    session_ = DecodeSession();
    batch_id_ = 0;
    Send(Request("config { vocab_size: 4 " + config + " }"));
    Send(Request("batch { batch_id: 1 opens { sequence_id: 1 } }"));
    batch_id_ = 1;
  }
  // A step of sequence 1 with kRow and the fields `step`.
  v1::StepResult Step(int position, const std::string& step) {
    return Send(Request(
                    "batch { batch_id: " + std::to_string(++batch_id_) +
                        " blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } steps { sequence_id: 1 position: " +
                        std::to_string(position) + " row: 0 " + step + " } }",
                    kRow))
        .result()
        .steps(0);
  }

  DecodeSession session_;
  StepWorkspaces workspaces_{1};
  int batch_id_ = 0;
};

TEST_F(DecodeStepsTest, AStepsOwnSetMasksItWithoutFalsifyingTheRow) {
  for (const char* set : {"ids { token_ids: [3, 1] }", "bitmask: \"\\x0a\""}) {
    SCOPED_TRACE(set);
    Open("sampling { temperature: 0 } record { rank: true entropy: true kept_set: true }");
    const v1::TokenRecord token = Step(0, "allowed_tokens { " + std::string(set) + " }").chosen().tokens(0);
    EXPECT_EQ(token.token_id(), 1);
    EXPECT_NEAR(token.model_log_prob(), -3.056343, 1e-6) << "of the row as it came";
    EXPECT_EQ(token.sampling_log_prob(), 0);
    EXPECT_EQ(token.rank(), 2);
    EXPECT_NEAR(token.model_entropy(), 0.240013, 1e-6);
    EXPECT_EQ(Step(1, "").chosen().tokens(0).token_id(), 0) << "it holds for one step";
  }
  Open("sampling { temperature: 1 }");
  const v1::TokenRecord drawn = Step(0, "allowed_tokens { ids { token_ids: [2, 3] } }").chosen().tokens(0);
  EXPECT_NEAR(drawn.sampling_log_prob(), std::log(0.5), 1e-6);
  EXPECT_NEAR(drawn.model_log_prob(), -5.556343, 1e-6);
}

TEST_F(DecodeStepsTest, SetsOfSequenceAndStepMeet) {
  Open("sampling { temperature: 0 banned_tokens { ids { token_ids: 1 } } }");
  EXPECT_EQ(Step(0, "allowed_tokens { ids { token_ids: [1, 3] } }").chosen().tokens(0).token_id(), 3);
  const v1::StepChosen none = Step(1, "allowed_tokens { ids { token_ids: 1 } }").chosen();
  EXPECT_EQ(none.finish().reason(), v1::FINISH_REASON_NO_ADMISSIBLE_TOKEN);
  EXPECT_EQ(none.tokens_size(), 0);
}

TEST_F(DecodeStepsTest, AGivenTokenIsTakenAndHasItsNumbers) {
  Open("end_token_ids: 3 sampling { temperature: 1 top_k: 2 seed: 1 } record { draw: true kept_set: true }");
  const v1::StepResult given = Step(0, "given_token_id: 1");
  const v1::TokenRecord& token = given.chosen().tokens(0);
  EXPECT_EQ(token.token_id(), 1);
  EXPECT_EQ(token.origin(), v1::TOKEN_ORIGIN_GIVEN);
  EXPECT_EQ(token.log_prob_state(), v1::LOG_PROB_STATE_PRESENT);
  EXPECT_NEAR(token.model_log_prob(), -3.056343, 1e-6);
  EXPECT_NEAR(token.sampling_log_prob(), -std::log(1 + std::exp(3.0)), 1e-6);
  EXPECT_FALSE(token.has_draw());
  EXPECT_EQ(Step(0, "given_token_id: 1").SerializeAsString(), given.SerializeAsString());
  const v1::StepChosen excluded = Step(1, "given_token_id: 2").chosen();
  EXPECT_EQ(excluded.tokens(0).log_prob_state(), v1::LOG_PROB_STATE_EXCLUDED);
  EXPECT_NEAR(excluded.tokens(0).model_log_prob(), -5.556343, 1e-6);
  EXPECT_FALSE(excluded.tokens(0).has_sampling_log_prob());
  EXPECT_FALSE(excluded.totals().has_cumulative_sampling_log_prob());
  EXPECT_TRUE(excluded.totals().has_cumulative_model_log_prob());
  const v1::StepChosen last = Step(2, "given_token_id: 3").chosen();
  EXPECT_EQ(last.finish().reason(), v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(last.finish().stop_token_id(), 3);
}

TEST_F(DecodeStepsTest, ARepeatWithAnotherGivenTokenIsAConflict) {
  Open("");
  Step(0, "given_token_id: 1");
  EXPECT_EQ(Step(0, "given_token_id: 2").error().reason(), v1::ERROR_REASON_POSITION_CONFLICT);
}

TEST_F(DecodeStepsTest, NamedTokensMayDifferAtEachPosition) {
  Open("record { named_token_ids: 3 }");
  const auto named = [](const v1::StepResult& step) {
    const auto& ids = step.chosen().tokens(0).named().token_ids();
    return std::vector<int>(ids.begin(), ids.end());
  };
  const v1::StepResult own = Step(0, "named_token_ids: [1, 2]");
  EXPECT_THAT(named(own), ::testing::ElementsAre(1, 2));
  EXPECT_NEAR(own.chosen().tokens(0).named().model_log_probs(0), -3.056343, 1e-6);
  EXPECT_THAT(named(Step(1, "named_token_ids: 0")), ::testing::ElementsAre(0));
  EXPECT_THAT(named(Step(2, "")), ::testing::ElementsAre(3));
}

TEST_F(DecodeStepsTest, BadInputsEndTheirSequence) {
  std::string many;
  for (int i = 0; i <= kMaxNamedTokens; ++i) many += " named_token_ids: 1";
  const struct {
    std::string step;
    const char* error;
  } cases[] = {
      {"given_token_id: 4", "TOKEN_ID_OUT_OF_RANGE of batch.steps[0].given_token_id"},
      {"given_token_id: -1", "TOKEN_ID_OUT_OF_RANGE of batch.steps[0].given_token_id"},
      {"allowed_tokens { }", "FIELD_REQUIRED of batch.steps[0].allowed_tokens.ids"},
      {"allowed_tokens { ids { } }", "EMPTY_TOKEN_SET of batch.steps[0].allowed_tokens.ids.token_ids"},
      {"allowed_tokens { bitmask: \"\\0\" }", "EMPTY_TOKEN_SET of batch.steps[0].allowed_tokens.bitmask"},
      {"allowed_tokens { bitmask: \"\\1\\1\" }", "FIELD_OUT_OF_RANGE of batch.steps[0].allowed_tokens.bitmask"},
      {"allowed_tokens { ids { token_ids: 4 } }",
       "TOKEN_ID_OUT_OF_RANGE of batch.steps[0].allowed_tokens.ids.token_ids[0]"},
      {"named_token_ids: [0, 4]", "TOKEN_ID_OUT_OF_RANGE of batch.steps[0].named_token_ids[1]"},
      {many, "LIMIT_EXCEEDED of batch.steps[0].named_token_ids"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.error);
    Open("");
    EXPECT_EQ(Describe(Step(0, test.step).error()), test.error);
    EXPECT_EQ(Step(0, "").error().reason(), v1::ERROR_REASON_SEQUENCE_NOT_OPEN);
  }
}

TEST_F(DecodeStepsTest, NamedTokensOfStepsCountInTheAlternativesOfTheReply) {
  // 1,024 steps of 1,024 named tokens are 2^20, the limit; one of them more is too many.
  Send(Request("config { vocab_size: 4 sampling { temperature: 0 } record { model_log_prob: false } }"));
  auto request = Request(
      "batch { batch_id: 1 opens { sequence_id: 1 } opens { sequence_id: 2 record { top_n: 1 } }"
      " blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } }",
      kRow);
  for (int i = 0; i < 1024; ++i) {
    v1::SequenceStep& step = *request.mutable_batch()->add_steps();
    step.set_sequence_id(i < 1023 ? 1 : 2);
    step.set_position(i < 1023 ? i : 0);
    step.set_row(0);
    step.mutable_named_token_ids()->Resize(kMaxNamedTokens, 0);
  }
  const v1::DecodeResponse response = Send(request);
  EXPECT_FALSE(response.result().steps(1022).has_error());
  EXPECT_EQ(response.result().steps(1023).error().limit(), "max_alternatives");
}

class DecodeVerifyTest : public logitd::testing::InProcessServer {};

TEST_F(DecodeVerifyTest, AStepWithASetIsVerifiedByComputeDistribution) {
  DecodeSession session;
  StepWorkspaces workspaces(1);
  v1::DecodeResponse response;
  ASSERT_THAT(session.Handle(Request("config { vocab_size: 4 sampling { temperature: 0.7 seed: 12 top_p: 0.99 } "
                                     "record { draw: true } }"),
                             {}, workspaces, response),
              IsOk());
  for (int key = 1; key <= 20; ++key) {
    const std::string id = std::to_string(key);
    response.Clear();
    ASSERT_THAT(
        session.Handle(Request("batch { batch_id: " + id + " opens { sequence_id: " + id +
                                   " } blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } steps { sequence_id: " +
                                   id + " allowed_tokens { ids { token_ids: [1, 2, 3] } } } }",
                               kRow),
                       {}, workspaces, response),
        IsOk());
    const v1::TokenRecord token = response.result().steps(0).chosen().tokens(0);
    v1::ComputeDistributionResponse verified;
    ASSERT_TRUE(Distribution("logits { float_values: [6, 3, 0.5, 0.5] } sampling { temperature: 0.7 top_p: 0.99 "
                             "allowed_tokens { ids { token_ids: [1, 2, 3] } } } verify { seed: 12 sequence_key: " +
                                 id + " position: 0 token_id: " + std::to_string(token.token_id()) + " }",
                             &verified)
                    .ok());
    EXPECT_TRUE(verified.verification().matches());
    EXPECT_EQ(verified.verification().draw().SerializeAsString(), token.draw().SerializeAsString());
  }
}

// A batch with everything that may happen to a step, sent to a session that has helpers and to one that has none.
TEST(DecodeParallelTest, TheResultDoesNotDependOnTheNumberOfThreads) {
  constexpr int kVocab = 4096;
  constexpr int kSequences = 64;
  std::mt19937 random(1);
  std::vector<float> values;
  for (int i = 0; i < 8 * kVocab; ++i) values.push_back(static_cast<float>(random() % 4096) / 256);
  values[3 * kVocab + 5] = std::numeric_limits<float>::quiet_NaN();
  const std::string payload = Bytes(values);
  StepWorkspaces alone(1), crew(8, 3);
  DecodeSession one, other;
  const auto send = [&](const v1::DecodeRequest& request) {
    v1::DecodeResponse expected, response;
    EXPECT_THAT(one.Handle(request, {}, alone, expected), IsOk());
    EXPECT_THAT(other.Handle(request, {}, crew, response), IsOk());
    EXPECT_EQ(response.SerializeAsString(), expected.SerializeAsString());
    EXPECT_EQ(one.held_bytes(), other.held_bytes());
    return expected;
  };
  send(
      Parse<v1::DecodeRequest>("config { vocab_size: 4096 end_token_ids: 7 sampling { seed: 8 temperature: 0.9 top_p: "
                               "0.9 repetition_penalty: 1.2 } record { rank: true kept_set: true draw: true } }"));
  int errors = 0, finishes = 0, chosen = 0;
  std::vector<int> positions(kSequences + 1, 0);
  for (int batch_id = 1; batch_id <= 12; ++batch_id) {
    v1::DecodeRequest request;
    v1::StepBatch& batch = *request.mutable_batch();
    batch.set_batch_id(batch_id);
    v1::LogitsBlock& block = *batch.add_blocks();
    block.set_dtype(v1::LOGITS_DTYPE_F32);
    block.set_row_count(8);
    block.set_width(kVocab);
    request.set_payload(payload);
    if (batch_id == 1) {
      for (int i = 1; i <= kSequences; ++i) batch.add_opens()->set_sequence_id(i);
    }
    // Two or three steps of each sequence, in an order of their own.
    for (int i = 0; i < 150; ++i) {
      v1::SequenceStep& step = *batch.add_steps();
      const int sequence = 1 + static_cast<int>(random() % (kSequences + 1));
      step.set_sequence_id(sequence);
      if (sequence <= kSequences) step.set_position(positions[sequence]++);
      step.set_row(random() % 40 == 0 ? 3 : static_cast<int>(random() % 3));
      if (random() % 5 == 0) step.set_given_token_id(random() % 20 == 0 ? 7 : static_cast<int>(random() % kVocab));
      if (random() % 5 == 0) {
        for (int id = 8; id < 40; ++id) step.mutable_allowed_tokens()->mutable_ids()->add_token_ids(id * 3);
      }
      if (random() % 60 == 0) step.set_row(8);
    }
    const v1::DecodeResponse response = send(request);
    for (const v1::StepResult& step : response.result().steps()) {
      errors += step.has_error();
      finishes += step.chosen().has_finish();
      chosen += step.chosen().tokens_size();
    }
  }
  EXPECT_GT(crew.crew().thread_count(), 0u) << "the batches are large enough for helpers";
  EXPECT_GT(errors, 50);
  EXPECT_GT(finishes, 3);
  EXPECT_GT(chosen, 200);
}

}  // namespace
}  // namespace logitd::server
