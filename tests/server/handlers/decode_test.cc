#include "server/handlers/decode.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <stop_token>
#include <thread>

#include "core/decoder.h"
#include "core/errors.h"
#include "tests/server/decode_messages.h"
#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProtoApproximately;
using logitd::testing::HasReason;
using logitd::testing::IsOk;

class DecodeSessionTest : public ::testing::Test {
 protected:
  v1::DecodeResponse Send(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    EXPECT_THAT(session_.Handle(request, {}, workspaces_, response), IsOk());
    return response;
  }
  absl::Status Refused(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    return session_.Handle(request, {}, workspaces_, response);
  }
  void Start(const std::string& config = "vocab_size: 4 end_token_ids: 3 sampling { temperature: 0 }") {
    Send(Request("config { " + config + " }"));
  }

  DecodeSession session_;
  StepWorkspaces workspaces_{1};
};

TEST_F(DecodeSessionTest, GreedyRowGivesArgmaxWithBothLogProbs) {
  Start();
  const auto response = Send(StepRequest(1, 0, kRow, " opens { sequence_id: 1 }"));
  ASSERT_EQ(response.result().steps_size(), 1);
  EXPECT_THAT(response.result().steps(0), EqualsProtoApproximately(std::string(R"(
    sequence_id: 1 position: 0 chosen {
      tokens { token_id: 0 position: 0 origin: TOKEN_ORIGIN_CHOSEN log_prob_state: LOG_PROB_STATE_PRESENT
               model_log_prob: -0.056343103295808 sampling_log_prob: 0 }
      totals { token_count: 1 cumulative_model_log_prob: -0.056343103295808 cumulative_sampling_log_prob: 0 }
      resume_state { model_sum: -0.056343103295808 sampling_sum: 0 } })"),
                                                                   1e-6));
}

TEST_F(DecodeSessionTest, AStepWithoutARowTakesTheRowOfItsOwnIndex) {
  // Four one-hot rows, and none of the steps says which: each has its own argmax. One that says so takes what it says.
  Start("vocab_size: 4 sampling { temperature: 0 }");
  auto request = Request(R"(batch { batch_id: 1
    opens { sequence_id: 1 } opens { sequence_id: 2 } opens { sequence_id: 3 } opens { sequence_id: 4 }
    blocks { dtype: LOGITS_DTYPE_F32 row_count: 4 width: 4 }
    steps { sequence_id: 1 } steps { sequence_id: 2 } steps { sequence_id: 3 row: 0 } steps { sequence_id: 4 } })");
  std::vector<float> rows(16, 0);
  for (size_t i = 0; i < 4; ++i) rows[i * 5] = 9;
  request.set_payload(testing::Bytes(rows));
  const auto response = Send(request);
  for (const auto& [step, token] : {std::pair(0, 0), {1, 1}, {2, 0}, {3, 3}}) {
    EXPECT_EQ(response.result().steps(step).chosen().tokens(0).token_id(), token) << step;
  }
  // A fifth step has no fifth row.
  request.mutable_batch()->set_batch_id(2);
  request.mutable_batch()->clear_opens();
  for (v1::SequenceStep& step : *request.mutable_batch()->mutable_steps()) step.set_position(1);
  *request.mutable_batch()->add_steps() = request.batch().steps(0);
  EXPECT_EQ(Describe(Send(request).result().steps(4).error()), "ROW_INDEX_OUT_OF_RANGE of batch.steps[4].row");
}

TEST_F(DecodeSessionTest, EosFinishesAndClosesItsSequence) {
  Start();
  const auto response = Send(StepRequest(1, 0, {0, 0, 0, 5}, " opens { sequence_id: 1 }"));
  const v1::Finish& finish = response.result().steps(0).chosen().finish();
  EXPECT_EQ(finish.reason(), v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(finish.stop_token_id(), 3);
  EXPECT_EQ(response.result().steps(0).chosen().tokens_size(), 1)
      << "the stop token's record is part of the completion";
  const auto after = Send(StepRequest(2, 1, kRow));
  EXPECT_EQ(Describe(after.result().steps(0).error()), "SEQUENCE_NOT_OPEN of batch.steps[0].sequence_id");
}

TEST_F(DecodeSessionTest, DrawnTokenIsTheDecodersOwn) {
  Start("vocab_size: 4 sampling { temperature: 0.7 top_p: 0.9 seed: 11 }");
  auto response = Send(StepRequest(1, 0, {1, 0.9f, 0.8f, 0.1f}, " opens { sequence_id: 1 sequence_key: 42 }"));
  EXPECT_EQ(response.result().opens(0).seed(), 11u);
  EXPECT_EQ(response.result().opens(0).sequence_key(), 42u);
  DecoderConfig config;
  config.sampling.temperature = 0.7;
  config.sampling.top_p = 0.9;
  config.seed = 11;
  config.sequence_key = 42;
  Decoder decoder(config);
  Distribution distribution;
  const std::vector<float> row = {1, 0.9f, 0.8f, 0.1f};
  for (int position = 0; position < 20; ++position) {
    const auto step = decoder.Advance(position, row, distribution);
    ASSERT_THAT(step, IsOk());
    if (position > 0) response = Send(StepRequest(position + 1, position, row));
    const v1::TokenRecord& token = response.result().steps(0).chosen().tokens(0);
    EXPECT_EQ(token.token_id(), step->token->token_id);
    EXPECT_EQ(token.sampling_log_prob(), *step->token->sampling_log_prob);
  }
}

TEST_F(DecodeSessionTest, SequencesHaveOwnParametersAndDoNotDisturbEachOther) {
  Start();
  const auto response = Send(Request(R"(batch { batch_id: 1
    opens { sequence_id: 1 }
    opens { sequence_id: 2 sampling { temperature: 0 allowed_tokens { ids { token_ids: [2, 1] } } } }
    opens { sequence_id: 3 sampling { temperature: 0 banned_tokens { ids { token_ids: [0] } } } }
    opens { sequence_id: 4 stop { max_tokens: 1 } }
    blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 }
    steps { sequence_id: 1 row: 1 } steps { sequence_id: 2 row: 0 } steps { sequence_id: 3 row: 0 }
    steps { sequence_id: 4 row: 0 } })",
                                     {6, 3, 0.5, 0.5, 0, 0, 0, 0}));
  const auto& steps = response.result().steps();
  EXPECT_EQ(steps[0].chosen().tokens(0).token_id(), 0) << "ties go to the lowest id";
  EXPECT_EQ(steps[1].chosen().tokens(0).token_id(), 1);
  EXPECT_EQ(steps[2].chosen().tokens(0).token_id(), 1);
  EXPECT_EQ(steps[3].chosen().tokens(0).token_id(), 0);
  EXPECT_EQ(steps[3].chosen().finish().reason(), v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_FALSE(steps[0].chosen().has_finish());
}

// Lends itself the only workspace between the first and the second step of a batch of three, has `context` given up (or
// not) and gives the workspace back; what the batch came to.
struct Interrupted {
  absl::Status status;
  v1::DecodeResponse response;
};
Interrupted InterruptAfterOneStep(DecodeSession& session, bool give_up) {
  const auto batch = Request(R"(batch { batch_id: 1 opens { sequence_id: 1 }
      blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } steps { sequence_id: 1 row: 0 position: 0 }
      steps { sequence_id: 1 row: 0 position: 1 } steps { sequence_id: 1 row: 0 position: 2 } })",
                             kRow);
  StepWorkspaces workspaces(1);
  std::optional<StepWorkspaces::Lease> only(*workspaces.Lend({}));
  std::stop_source source;
  Interrupted interrupted;
  std::atomic<bool> is_done = false;
  std::jthread working([&] {
    interrupted.status = session.Handle(batch, {.given_up = source.get_token()}, workspaces, interrupted.response);
    is_done = true;
  });
  while (workspaces.waiting_count() < 1) std::this_thread::yield();
  std::jthread other([&] {
    // In line behind the first step, before the second.
    const auto workspace = workspaces.Lend({});
    EXPECT_THAT(workspace, IsOk());
    while (workspaces.waiting_count() < 1 && !is_done) std::this_thread::yield();
    EXPECT_FALSE(is_done) << "the whole batch was one turn";
    if (!give_up) return;
    source.request_stop();
    // It leaves though nothing is given back.
    working.join();
  });
  while (workspaces.waiting_count() < 2) std::this_thread::yield();
  only.reset();
  other.join();
  if (working.joinable()) working.join();
  return interrupted;
}

TEST_F(DecodeSessionTest, OthersHaveTheirTurnBetweenTheStepsOfABatch) {
  Start("vocab_size: 4 sampling { temperature: 0.7 seed: 5 }");
  const auto [status, response] = InterruptAfterOneStep(session_, /*give_up=*/false);
  ASSERT_THAT(status, IsOk());
  ASSERT_EQ(response.result().steps_size(), 3);
  EXPECT_EQ(response.result().steps(2).chosen().totals().token_count(), 3);
}

TEST_F(DecodeSessionTest, ABatchThatIsGivenUpEndsBeforeItsNextStep) {
  Start("vocab_size: 4 sampling { temperature: 0.7 seed: 5 }");
  const auto [status, response] = InterruptAfterOneStep(session_, /*give_up=*/true);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(response.result().steps_size(), 1);
}

TEST_F(DecodeSessionTest, BadRowEndsItsSequenceAlone) {
  Start();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto response = Send(Request(R"(batch { batch_id: 1 opens { sequence_id: 1 } opens { sequence_id: 2 }
    blocks { dtype: LOGITS_DTYPE_F32 row_count: 2 width: 4 }
    steps { sequence_id: 1 row: 0 } steps { sequence_id: 2 row: 1 } })",
                                     {1, 2, nan, 4, 4, 3, 2, 1}));
  const v1::Error& error = response.result().steps(0).error();
  EXPECT_EQ(error.reason(), v1::ERROR_REASON_NON_FINITE_LOGIT);
  EXPECT_EQ(error.row(), 0);
  EXPECT_EQ(error.token_id(), 2);
  EXPECT_EQ(error.value(), "nan");
  EXPECT_EQ(response.result().steps(1).chosen().tokens(0).token_id(), 0);
  EXPECT_THAT(Send(StepRequest(2, 1, kRow)).result().steps(0).error().reason(), v1::ERROR_REASON_SEQUENCE_NOT_OPEN);
}

TEST_F(DecodeSessionTest, RepeatOfTheLatestPositionGivesTheSameBytes) {
  Start("vocab_size: 4 sampling { temperature: 1.3 seed: 5 }");
  Send(StepRequest(1, 0, kRow, " opens { sequence_id: 1 }"));
  const std::vector<float> row = {1, 1.5, 2, 0};
  const std::string once = Send(StepRequest(2, 1, row)).result().steps(0).SerializeAsString();
  const std::string twice = Send(StepRequest(3, 1, row)).result().steps(0).SerializeAsString();
  EXPECT_EQ(once, twice);
  EXPECT_EQ(Send(StepRequest(4, 2, row)).result().steps(0).chosen().totals().token_count(), 3);
}

TEST_F(DecodeSessionTest, PositionsOtherThanNextAndLatestAreRefused) {
  const struct {
    const char* name;
    int position;
    v1::ErrorReason reason;
  } cases[] = {{"gap", 3, v1::ERROR_REASON_POSITION_GAP},
               {"negative", -1, v1::ERROR_REASON_POSITION_TOO_OLD},
               {"too old", 0, v1::ERROR_REASON_POSITION_TOO_OLD}};
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    session_ = DecodeSession();
    Start();
    Send(StepRequest(1, 0, kRow, " opens { sequence_id: 1 }"));
    Send(StepRequest(2, 1, kRow));
    EXPECT_EQ(Send(StepRequest(3, test.position, kRow)).result().steps(0).error().reason(), test.reason);
  }
}

TEST_F(DecodeSessionTest, RepeatWithAnotherTokenIsAConflict) {
  Start();
  Send(StepRequest(1, 0, kRow, " opens { sequence_id: 1 }"));
  EXPECT_EQ(Send(StepRequest(2, 0, {0, 9, 0, 0})).result().steps(0).error().reason(),
            v1::ERROR_REASON_POSITION_CONFLICT);
}

TEST_F(DecodeSessionTest, ResumedSequenceHasTheSameTokensAndBits) {
  const std::string config = "vocab_size: 4 sampling { temperature: 0.6 top_k: 3 seed: 77 }";
  const std::vector<std::vector<float>> rows = {{1, 2, 3, 4}, {0.5, 0.25, 0.75, 1}, {3, 3, 3, 3}, {-1, 2, 0.1f, 1}};
  Start(config);
  std::vector<v1::StepResult> whole;
  for (int i = 0; i < 4; ++i) {
    whole.push_back(Send(StepRequest(i + 1, i, rows[i], i == 0 ? " opens { sequence_id: 1 }" : "")).result().steps(0));
  }
  for (int cut = 1; cut < 4; ++cut) {
    SCOPED_TRACE(cut);
    session_ = DecodeSession();
    Start(config);
    auto request = StepRequest(1, cut, rows[cut], " opens { sequence_id: 1 }");
    v1::SequenceState& state = *request.mutable_batch()->mutable_opens(0)->mutable_fresh()->mutable_state();
    for (int i = 0; i < cut; ++i) state.mutable_tokens()->add_token_ids(whole[i].chosen().tokens(0).token_id());
    *state.mutable_resume_state() = whole[cut - 1].chosen().resume_state();
    const auto response = Send(request);
    EXPECT_EQ(response.result().opens(0).next_position(), cut);
    EXPECT_EQ(response.result().steps(0).SerializeAsString(), whole[cut].SerializeAsString());
  }
}

TEST_F(DecodeSessionTest, ResumeWithoutSumsReportsNone) {
  Start();
  auto request = StepRequest(1, 2, kRow, " opens { sequence_id: 1 fresh { state { tokens { token_ids: [1, 2] } } } }");
  const v1::StepChosen chosen = Send(request).result().steps(0).chosen();
  EXPECT_FALSE(chosen.totals().has_cumulative_model_log_prob());
  EXPECT_EQ(chosen.totals().token_count(), 3);
}

TEST_F(DecodeSessionTest, MinTokensKeepsEosOutUntilThen) {
  Start("vocab_size: 4 end_token_ids: 3 sampling { temperature: 0 } stop { min_tokens: 1 }");
  const std::vector<float> row = {0, 1, 0, 5};
  EXPECT_EQ(Send(StepRequest(1, 0, row, " opens { sequence_id: 1 }")).result().steps(0).chosen().tokens(0).token_id(),
            1);
  EXPECT_EQ(Send(StepRequest(2, 1, row)).result().steps(0).chosen().tokens(0).token_id(), 3);
}

TEST_F(DecodeSessionTest, NoAdmissibleTokenIsAFinish) {
  Start("vocab_size: 4 sampling { temperature: 0.5 allowed_tokens { ids { token_ids: 2 } } }");
  const float inf = std::numeric_limits<float>::infinity();
  const v1::StepChosen chosen =
      Send(StepRequest(1, 0, {1, 2, -inf, 3}, " opens { sequence_id: 1 }")).result().steps(0).chosen();
  EXPECT_EQ(chosen.finish().reason(), v1::FINISH_REASON_NO_ADMISSIBLE_TOKEN);
  EXPECT_EQ(chosen.tokens_size(), 0);
}

TEST_F(DecodeSessionTest, CloseReturnsTheSums) {
  Start();
  Send(StepRequest(1, 0, kRow, " opens { sequence_id: 1 }"));
  const auto response = Send(Request("batch { batch_id: 2 close_sequence_ids: 1 close_sequence_ids: 9 }"));
  EXPECT_EQ(response.result().closes(0).totals().token_count(), 1);
  EXPECT_EQ(response.result().closes(0).finish().reason(), v1::FINISH_REASON_CANCELLED);
  EXPECT_FALSE(response.result().closes(1).has_finish());
  EXPECT_FALSE(response.result().closes(0).has_error());
  EXPECT_EQ(Describe(response.result().closes(1).error()), "SEQUENCE_NOT_OPEN of batch.close_sequence_ids[1]");
}

TEST_F(DecodeSessionTest, AKeyOfSixtyFourBitsIsShownAsItIs) {
  Start();
  const auto response =
      Send(Request("batch { batch_id: 1 opens { sequence_id: 5 sequence_key: 18446744073709551615 } }"));
  EXPECT_EQ(response.result().opens(0).error().value(), "\"18446744073709551615\"") << "once a negative number";
}

TEST_F(DecodeSessionTest, BadOpensAreTheirOwnErrors) {
  Start();
  const struct {
    const char* open;
    const char* error;
  } cases[] = {
      {"", "FIELD_OUT_OF_RANGE of batch.opens[0].sequence_id"},
      {"sequence_id: -5", "FIELD_OUT_OF_RANGE of batch.opens[0].sequence_id"},
      {"sequence_id: 5 sequence_key: 72057594037927936", "FIELD_OUT_OF_RANGE of batch.opens[0].sequence_key"},
      {"sequence_id: 5 sampling { temperature: -1 }", "FIELD_OUT_OF_RANGE of batch.opens[0].sampling.temperature"},
      {"sequence_id: 5 sampling { temperature: nan }", "FIELD_OUT_OF_RANGE of batch.opens[0].sampling.temperature"},
      {"sequence_id: 5 sampling { temperature: 1e7 }", "FIELD_OUT_OF_RANGE of batch.opens[0].sampling.temperature"},
      {"sequence_id: 5 sampling { top_k: -1 }", "FIELD_OUT_OF_RANGE of batch.opens[0].sampling.top_k"},
      {"sequence_id: 5 sampling { top_p: 1.5 }", "FIELD_OUT_OF_RANGE of batch.opens[0].sampling.top_p"},
      {"sequence_id: 5 sampling { min_p: -0.1 }", "FIELD_OUT_OF_RANGE of batch.opens[0].sampling.min_p"},
      {"sequence_id: 5 sampling { allowed_tokens { ids { } } }",
       "EMPTY_TOKEN_SET of batch.opens[0].sampling.allowed_tokens.ids.token_ids"},
      {"sequence_id: 5 sampling { allowed_tokens { } }",
       "FIELD_REQUIRED of batch.opens[0].sampling.allowed_tokens.ids"},
      {"sequence_id: 5 sampling { allowed_tokens { ids { token_ids: [1, 4] } } }",
       "TOKEN_ID_OUT_OF_RANGE of batch.opens[0].sampling.allowed_tokens.ids.token_ids[1]"},
      {"sequence_id: 5 sampling { allowed_tokens { ids { token_ids: [1, 1] } } }",
       "DUPLICATE_TOKEN_ID of batch.opens[0].sampling.allowed_tokens.ids.token_ids[1]"},
      {"sequence_id: 5 sampling { allowed_tokens { bitmask: \"\\xf0\" } }",
       "FIELD_OUT_OF_RANGE of batch.opens[0].sampling.allowed_tokens.bitmask"},
      {"sequence_id: 5 stop { max_tokens: 2147483647 }", "LIMIT_EXCEEDED of batch.opens[0].stop.max_tokens"},
      {"sequence_id: 5 stop { max_tokens: 0 }", "FIELD_OUT_OF_RANGE of batch.opens[0].stop.max_tokens"},
      {"sequence_id: 5 stop { max_tokens: 3 min_tokens: 4 }", "FIELD_OUT_OF_RANGE of batch.opens[0].stop.min_tokens"},
      {"sequence_id: 5 stop { stop_token_ids: 4 }", "TOKEN_ID_OUT_OF_RANGE of batch.opens[0].stop.stop_token_ids[0]"},
      {"sequence_id: 5 record { top_n: -1 }", "FIELD_OUT_OF_RANGE of batch.opens[0].record.top_n"},
      {"sequence_id: 5 record { top_n: 5 }", "LIMIT_EXCEEDED of batch.opens[0].record.top_n"},
      {"sequence_id: 5 record { named_token_ids: -1 }",
       "TOKEN_ID_OUT_OF_RANGE of batch.opens[0].record.named_token_ids[0]"},
      {"sequence_id: 5 fresh { prompt_token_ids: 4 }",
       "TOKEN_ID_OUT_OF_RANGE of batch.opens[0].fresh.prompt_token_ids[0]"},
      {"sequence_id: 5 fresh { state { tokens { token_ids: [1] } resume_state { model_sum: nan } } }",
       "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.resume_state.model_sum"},
      {"sequence_id: 5 stop { max_tokens: 1 } fresh { state { tokens { token_ids: [1] } } }",
       "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.tokens.token_ids"},
  };
  int batch_id = 0;
  for (const auto& test : cases) {
    SCOPED_TRACE(test.open);
    const auto response =
        Send(Request("batch { batch_id: " + std::to_string(++batch_id) + " opens { " + test.open + " } }"));
    const v1::Error& error = response.result().opens(0).error();
    EXPECT_EQ(Describe(error), test.error);
    EXPECT_FALSE(error.message().empty());
  }
  EXPECT_FALSE(Send(Request("batch { batch_id: 100 opens { sequence_id: 5 } }")).result().opens(0).has_error());
  EXPECT_EQ(Send(Request("batch { batch_id: 101 opens { sequence_id: 5 } }")).result().opens(0).error().reason(),
            v1::ERROR_REASON_SEQUENCE_ALREADY_OPEN);
}

TEST_F(DecodeSessionTest, SumsThatNoTokensHaveAreRefused) {
  Start();
  constexpr char kOneToken[] = "tokens { token_ids: [1] } ";
  const struct {
    const char* tokens;
    const char* state;
    // Of resume_state; empty: taken.
    const char* field;
    const char* bound;
  } cases[] = {
      {kOneToken, "model_sum: 1e-300", "model_sum", "[-6.80564733841877e+38, 0]"},
      {kOneToken, "model_sum: 7", "model_sum", "[-6.80564733841877e+38, 0]"},
      {kOneToken, "model_sum: inf", "model_sum", "[-6.80564733841877e+38, 0]"},
      {kOneToken, "model_sum: -inf", "model_sum", "[-6.80564733841877e+38, 0]"},
      {kOneToken, "model_sum: -7e38", "model_sum", "[-6.80564733841877e+38, 0]"},
      {"tokens { token_ids: [1, 2] } ", "model_sum: -7e38", "", ""},
      {kOneToken, "sampling_sum: -7e42", "sampling_sum", "[-6.805647338418769e+42, 0]"},
      {kOneToken, "sampling_sum: -6.8e42", "", ""},
      {kOneToken, "sampling_sum: nan", "sampling_sum", "[-6.805647338418769e+42, 0]"},
      {kOneToken, "model_sum: -1 model_compensation: 1e300", "model_compensation",
       "[-2.220446049250313e-16, 2.220446049250313e-16]"},
      {kOneToken, "model_sum: -1 model_compensation: -1", "model_compensation",
       "[-2.220446049250313e-16, 2.220446049250313e-16]"},
      {kOneToken, "model_sum: -1 model_compensation: nan", "model_compensation",
       "[-2.220446049250313e-16, 2.220446049250313e-16]"},
      {kOneToken, "sampling_sum: -4 sampling_compensation: 9e-16", "sampling_compensation",
       "[-8.881784197001252e-16, 8.881784197001252e-16]"},
      {kOneToken, "sampling_sum: -4 sampling_compensation: 8e-16", "", ""},
      {kOneToken, "model_sum: 0 model_compensation: 5e-324", "model_compensation", "[0, 0]"},
      {kOneToken, "model_compensation: 1e-300", "model_compensation", "0 without model_sum"},
      {kOneToken, "sampling_compensation: nan", "sampling_compensation", "0 without sampling_sum"},
      {"", "model_sum: -1", "model_sum", "0, the sum of no tokens"},
      {"", "model_sum: 0 model_compensation: -1", "model_compensation", "[0, 0]"},
      {"", "model_sum: 0 sampling_sum: -0.0", "", ""},
  };
  int id = 0;
  for (const auto& test : cases) {
    SCOPED_TRACE(std::string(test.tokens) + test.state);
    const std::string number = std::to_string(++id);
    const auto response =
        Send(Request("batch { batch_id: " + number + " opens { sequence_id: " + number + " fresh { state { " +
                     test.tokens + "resume_state { " + test.state + " } } } } }"));
    const v1::OpenResult& opened = response.result().opens(0);
    if (*test.field == '\0') {
      EXPECT_FALSE(opened.has_error()) << opened.error().message();
      continue;
    }
    EXPECT_EQ(Describe(opened.error()),
              "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.resume_state." + std::string(test.field));
    EXPECT_EQ(opened.error().bound(), test.bound);
  }
  // What was taken is reported without a sign that no sum has.
  const auto closed = Send(Request("batch { batch_id: 100 close_sequence_ids: " + std::to_string(id) + " }"));
  EXPECT_FALSE(std::signbit(closed.result().closes(0).totals().cumulative_sampling_log_prob()));
}

TEST_F(DecodeSessionTest, WhatCannotBeTakenApartEndsTheStream) {
  EXPECT_THAT(Refused(StepRequest(1, 0, kRow)), HasReason(ErrorReason::kUnexpectedMessage)) << "batch before config";
  EXPECT_THAT(Refused(v1::DecodeRequest()), HasReason(ErrorReason::kUnexpectedMessage));
  EXPECT_THAT(Refused(Request("config { vocab_size: 0 }")), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(Refused(Request("config { vocab_size: 1048577 }")), HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(Refused(Request("config { vocab_size: 4 numerics_version: 99 }")),
              HasReason(ErrorReason::kNumericsVersionMismatch));
  EXPECT_THAT(Refused(Request("config { vocab_size: 4 }", {1})), HasReason(ErrorReason::kUnexpectedMessage));
  Start();
  EXPECT_THAT(Refused(Request("config { vocab_size: 4 }")), HasReason(ErrorReason::kUnexpectedMessage));
  EXPECT_THAT(Refused(StepRequest(1, 0, {1, 2, 3})), HasReason(ErrorReason::kRowLengthMismatch)) << "row too short";
  EXPECT_THAT(Refused(StepRequest(1, 0, {1, 2, 3, 4, 5})), HasReason(ErrorReason::kRowLengthMismatch)) << "too long";
  EXPECT_THAT(
      Refused(Request("batch { batch_id: 1 blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 3 } }", {1, 2, 3})),
      HasReason(ErrorReason::kRowLengthMismatch));
  EXPECT_THAT(Refused(Request("batch { batch_id: 1 blocks { row_count: 1 width: 4 } }", kRow)),
              HasReason(ErrorReason::kFieldRequired));
  EXPECT_THAT(Refused(Request("batch { batch_id: 1 blocks { dtype: LOGITS_DTYPE_F32 width: 4 } }")),
              HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_THAT(
      Refused(Request("batch { batch_id: 1 blocks { dtype: LOGITS_DTYPE_F32 row_count: 2147483647 width: 4 } }")),
      HasReason(ErrorReason::kLimitExceeded));
  EXPECT_THAT(Refused(Request("batch { batch_id: 0 }")), HasReason(ErrorReason::kFieldOutOfRange));
  Send(Request("batch { batch_id: 3 }"));
  EXPECT_THAT(Refused(Request("batch { batch_id: 3 }")), HasReason(ErrorReason::kFieldOutOfRange));
}

TEST_F(DecodeSessionTest, TokenSetsOfAStreamAreBounded) {
  Start("vocab_size: 1048576 sampling { allowed_tokens { ids { token_ids: 3 } } }");
  // Sets of a sequence's own are 128 KiB each, 512 of them are 64 MiB; the stream's own set is shared.
  int64_t id = 0;
  const auto open = [&](const std::string& sampling) {
    ++id;
    return Send(Request("batch { batch_id: " + std::to_string(id) + " opens { sequence_id: " + std::to_string(id) +
                        sampling + " } }"))
        .result()
        .opens(0);
  };
  const std::string own = " sampling { allowed_tokens { ids { token_ids: 5 } } }";
  for (int i = 0; i < 512; ++i) ASSERT_FALSE(open(own).has_error()) << i;
  const v1::OpenResult refused = open(own);
  EXPECT_EQ(refused.error().reason(), v1::ERROR_REASON_LIMIT_EXCEEDED);
  EXPECT_EQ(refused.error().limit(), "max_stream_state_bytes");
  EXPECT_EQ(refused.error().message(),
            "batch.opens[0].sampling must be in [0, 67108864] bytes of the sets, lists, prompts and tokens of the open "
            "sequences, got 67239936");
  EXPECT_FALSE(open("").has_error());
  Send(Request("batch { batch_id: 1000 close_sequence_ids: 1 }"));
  id = 1000;
  EXPECT_FALSE(open(own).has_error()) << "what is closed is given back";
}

TEST_F(DecodeSessionTest, HeldBytesAreThoseOfTheOpenSequences) {
  // A bias on a sequence looks at the tokens, and so they are kept. It is the stream's own, held from the start.
  Start("vocab_size: 4 end_token_ids: 3 sampling { temperature: 0.7 sequence_biases { token_ids: [3, 3] bias: 0 } }");
  const int64_t stream = session_.held_bytes();
  auto open = Request("batch { batch_id: 1 opens { sequence_id: 1 } opens { sequence_id: 2 } }");
  Send(open);
  const int64_t empty = (session_.held_bytes() - stream) / 2;
  EXPECT_GT(empty, 0);
  open = Request("batch { batch_id: 2 opens { sequence_id: 3 } }");
  open.mutable_batch()
      ->mutable_opens(0)
      ->mutable_fresh()
      ->mutable_state()
      ->mutable_tokens()
      ->mutable_token_ids()
      ->Resize(1000, 0);
  Send(open);
  EXPECT_EQ(session_.held_bytes(), stream + 3 * empty + 4000) << "resumed tokens count";
  int batch_id = 2;
  for (int position = 0; position < 100; ++position) Send(StepRequest(++batch_id, position, {5, 5, 5, -100}));
  EXPECT_GE(session_.held_bytes(), stream + 3 * empty + 4400) << "chosen tokens count";
  Send(StepRequest(++batch_id, 100, {0, 0, 0, 100}));
  EXPECT_EQ(session_.held_bytes(), stream + 2 * empty + 4000) << "a finished sequence gives all of its bytes back";
  Send(Request("batch { batch_id: 1000 close_sequence_ids: 3 steps { sequence_id: 2 row: 7 } }"));
  EXPECT_EQ(session_.held_bytes(), stream) << "so does one that is closed, or ends with an error";
}

TEST_F(DecodeSessionTest, HeldTokenSetsCountOncePerOwner) {
  Start("vocab_size: 1048576 sampling { allowed_tokens { ids { token_ids: 3 } } }");
  EXPECT_EQ(session_.held_bytes(), 1 << 17);
  Send(Request("batch { batch_id: 1 opens { sequence_id: 1 } opens { sequence_id: 2 } }"));
  EXPECT_LT(session_.held_bytes(), (1 << 17) + 4096);
  Send(Request("batch { batch_id: 2 opens { sequence_id: 3 sampling { allowed_tokens { ids { token_ids: 5 } } } } }"));
  EXPECT_GT(session_.held_bytes(), 2 << 17);
}

TEST_F(DecodeSessionTest, RowOutsideOfTheMessageIsAnError) {
  Start();
  for (const int row : {-1, 1, 2147483647}) {
    SCOPED_TRACE(row);
    auto request = StepRequest(row == -1 ? 1 : row == 1 ? 2 : 3, 0, kRow, " opens { sequence_id: 1 }");
    request.mutable_batch()->mutable_steps(0)->set_row(row);
    EXPECT_EQ(Describe(Send(request).result().steps(0).error()), "ROW_INDEX_OUT_OF_RANGE of batch.steps[0].row");
  }
}

}  // namespace
}  // namespace logitd::server
