// Decode: every state that a stream can reach can be resumed, and what a stream holds is counted once and the same way.
#include <string>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "core/limits.h"
#include "server/handlers/decode.h"
#include "tests/server/decode_messages.h"
#include "tests/server/in_process.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::Bytes;
using ::logitd::testing::Describe;
using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::Parse;

constexpr int kVocab = 16;

// A stream, and what its client keeps of it.
class Stream {
 public:
  explicit Stream(const std::string& config) {
    Send(Parse<v1::DecodeRequest>("config { vocab_size: 16 " + config + " }"));
  }

  v1::DecodeResponse Send(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    EXPECT_THAT(session_.Handle(request, {}, workspaces_, response), IsOk());
    return response;
  }
  // A batch of the stream, without its id.
  v1::BatchResult SendBatch(v1::DecodeRequest request) {
    request.mutable_batch()->set_batch_id(++batch_id_);
    return Send(request).result();
  }
  v1::BatchResult SendBatch(const std::string& text) {
    return SendBatch(Parse<v1::DecodeRequest>("batch { " + text + " }"));
  }
  // One step of each of `count` sequences; sequence i has the row (i + position) mod 7.
  v1::BatchResult Step(int count, int position) {
    v1::DecodeRequest request;
    v1::LogitsBlock& block = *request.mutable_batch()->add_blocks();
    block.set_dtype(v1::LOGITS_DTYPE_F32);
    block.set_row_count(7);
    block.set_width(kVocab);
    std::vector<float> values;
    for (int row = 0; row < 7; ++row) {
      for (int id = 0; id < kVocab; ++id) values.push_back(0.25f * static_cast<float>((row * 31 + id * 17) % 13));
    }
    request.set_payload(Bytes(values));
    for (int i = 0; i < count; ++i) {
      v1::SequenceStep& step = *request.mutable_batch()->add_steps();
      step.set_sequence_id(i + 1);
      step.set_position(position);
      step.set_row((i + position) % 7);
    }
    return SendBatch(std::move(request));
  }
  int64_t held_bytes() const { return session_.held_bytes(); }

 private:
  DecodeSession session_;
  StepWorkspaces workspaces_{4, 2};
  int64_t batch_id_ = 0;
};

TEST(DecodeResumeTest, ACountIsEnoughWhereNoStageLooksAtTheTokens) {
  const std::string config =
      "sampling { temperature: 0.8 top_p: 0.95 seed: 5 logit_biases { token_id: 3 bias: 1 } "
      "sequence_biases { token_ids: 2 bias: -1 } } stop { max_tokens: 40 min_tokens: 20 stop_token_ids: 1 }";
  Stream whole(config);
  whole.SendBatch("opens { sequence_id: 1 }");
  std::vector<v1::StepResult> steps;
  while (steps.empty() || !steps.back().chosen().has_finish()) {
    steps.push_back(whole.Step(1, static_cast<int>(steps.size())).steps(0));
    ASSERT_FALSE(steps.back().has_error());
  }
  const auto count = static_cast<int>(steps.size());
  EXPECT_GE(count, 20);
  for (int cut = 1; cut < count; ++cut) {
    SCOPED_TRACE(cut);
    Stream resumed(config);
    v1::DecodeRequest open = Parse<v1::DecodeRequest>("batch { opens { sequence_id: 1 } }");
    v1::SequenceState& state = *open.mutable_batch()->mutable_opens(0)->mutable_fresh()->mutable_state();
    state.set_token_count(cut);
    *state.mutable_resume_state() = steps[cut - 1].chosen().resume_state();
    const v1::BatchResult opened = resumed.SendBatch(open);
    ASSERT_FALSE(opened.opens(0).has_error()) << opened.opens(0).error().message();
    EXPECT_EQ(opened.opens(0).next_position(), cut);
    for (int position = cut; position < count; ++position) {
      const v1::StepResult step = resumed.Step(1, position).steps(0);
      EXPECT_EQ(step.SerializeAsString(), steps[position].SerializeAsString()) << position;
    }
  }
}

TEST(DecodeResumeTest, TheLastStepBeforeAResumeIsTooOld) {
  for (const char* past : {"token_count: 2", "tokens { token_ids: [1, 2] }"}) {
    SCOPED_TRACE(past);
    Stream stream("sampling { temperature: 0 }");
    stream.SendBatch("opens { sequence_id: 1 fresh { state { " + std::string(past) + " } } }");
    EXPECT_EQ(stream.Step(1, 1).steps(0).error().reason(), v1::ERROR_REASON_POSITION_TOO_OLD);
  }
  Stream stream("sampling { temperature: 0 }");
  stream.SendBatch("opens { sequence_id: 1 fresh { state { token_count: 2 } } }");
  const v1::StepResult once = stream.Step(1, 2).steps(0);
  EXPECT_EQ(stream.Step(1, 2).steps(0).SerializeAsString(), once.SerializeAsString()) << "one taken here is not";
}

TEST(DecodeResumeTest, ACountIsRefusedWhereAStageLooksAtTheTokens) {
  const struct {
    const char* sampling;
    const char* stage;
  } cases[] = {{"repetition_penalty: 1.1", "REPETITION_PENALTY"},
               {"frequency_penalty: 0.5", "FREQUENCY_PENALTY"},
               {"presence_penalty: 0.5", "PRESENCE_PENALTY"},
               {"no_repeat_ngram_size: 2", "NO_REPEAT_NGRAM"},
               {"dry { multiplier: 1 }", "DRY"},
               {"sequence_biases { token_ids: [1, 2] bias: 1 }", "SEQUENCE_BIASES"}};
  for (const auto& test : cases) {
    SCOPED_TRACE(test.sampling);
    Stream stream("sampling { " + std::string(test.sampling) + " }");
    const v1::Error error =
        stream.SendBatch("opens { sequence_id: 1 fresh { state { token_count: 3 } } }").opens(0).error();
    EXPECT_EQ(Describe(error), "FIELD_REQUIRED of batch.opens[0].fresh.state.tokens");
    EXPECT_EQ(error.message(),
              "batch.opens[0].fresh.state.tokens is required: stage " + std::string(test.stage) + " looks at them");
    EXPECT_FALSE(stream.SendBatch("opens { sequence_id: 1 fresh { state { token_count: 0 } } }").opens(0).has_error())
        << "no tokens are no tokens";
  }
}

TEST(DecodeResumeTest, BadStatesAreTheirOwnErrors) {
  const struct {
    const char* open;
    const char* error;
  } cases[] = {
      {"fresh { state { token_count: -1 } }", "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.token_count"},
      {"fresh { state { token_count: 131072 } }", "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.token_count"},
      {"stop { max_tokens: 3 } fresh { state { token_count: 3 } }",
       "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.token_count"},
      {"fresh { state { tokens { token_ids: 16 } } }",
       "TOKEN_ID_OUT_OF_RANGE of batch.opens[0].fresh.state.tokens.token_ids[0]"},
      {"fresh { state { token_count: 1 resume_state { model_sum: 1 } } }",
       "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.resume_state.model_sum"},
      {"fresh { state { resume_state { model_sum: -1 } } }",
       "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.state.resume_state.model_sum"},
      {"fresh { shared_prompt: 1 }", "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.shared_prompt"},
      {"fresh { shared_prompt: -1 }", "FIELD_OUT_OF_RANGE of batch.opens[0].fresh.shared_prompt"},
      {"fresh { shared_prompt: 0 prompt_token_ids: 1 }", "FIELDS_EXCLUSIVE of batch.opens[0].fresh.shared_prompt"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.open);
    Stream stream("");
    const std::string open = "shared_prompts { token_ids: 2 } opens { sequence_id: 1 " + std::string(test.open) + " }";
    EXPECT_EQ(Describe(stream.SendBatch(open).opens(0).error()), test.error);
  }
}

TEST(DecodeResumeTest, ABadSharedPromptIsAnErrorOfTheMessage) {
  DecodeSession session;
  StepWorkspaces workspaces(1);
  v1::DecodeResponse response;
  ASSERT_THAT(session.Handle(Parse<v1::DecodeRequest>("config { vocab_size: 4 }"), {}, workspaces, response), IsOk());
  const absl::Status status = session.Handle(
      Parse<v1::DecodeRequest>("batch { batch_id: 1 shared_prompts { } shared_prompts { token_ids: [1, 4] } }"), {},
      workspaces, response);
  EXPECT_THAT(status, HasReason(ErrorReason::kTokenIdOutOfRange));
  EXPECT_EQ(DetailOf(status).field, "batch.shared_prompts[1].token_ids[1]");
}

TEST(DecodeResumeTest, ASharedPromptIsThePromptOfEachThatNamesItAndKeptOnce) {
  const std::string config = "sampling { temperature: 0.7 seed: 3 repetition_penalty: 2 }";
  std::string prompt;
  for (int i = 0; i < 10'000; ++i) prompt += (i == 0 ? "" : ", ") + std::to_string(i % 5);
  Stream each(config), shared(config);
  std::string opens, with_prompts;
  for (int i = 1; i <= 20; ++i) {
    const std::string id = "sequence_id: " + std::to_string(i);
    opens += " opens { " + id + " fresh { shared_prompt: 1 } }";
    with_prompts += " opens { " + id + " fresh { prompt_token_ids: [" + prompt + "] } }";
  }
  shared.SendBatch("shared_prompts { token_ids: 9 } shared_prompts { token_ids: [" + prompt + "] }" + opens);
  each.SendBatch(with_prompts);
  for (int position = 0; position < 3; ++position) {
    EXPECT_EQ(shared.Step(20, position).SerializeAsString(), each.Step(20, position).SerializeAsString());
  }
  EXPECT_EQ(shared.held_bytes(), each.held_bytes()) << "however it came";
  EXPECT_GE(shared.held_bytes(), 40'000);
  EXPECT_LT(shared.held_bytes(), 2 * 40'000);
  for (int i = 1; i <= 20; ++i) {
    EXPECT_GE(shared.held_bytes(), 40'000) << "the last that has it keeps it";
    shared.SendBatch("close_sequence_ids: " + std::to_string(i));
  }
  EXPECT_EQ(shared.held_bytes(), 0);
}

// What a stream may hold is counted at its opening and as it grows, so that where one ends another can begin.
TEST(DecodeResumeTest, WhatAStreamHoldsIsBoundedAsItGrowsAndItsStateCanBeResumed) {
  const std::string config = "sampling { temperature: 0.7 seed: 3 frequency_penalty: 0.1 }";
  Stream stream(config);
  // 128 sequences of 131,070 tokens, 4 bytes each: 1,024 bytes less than the 64 MiB of the limit.
  v1::DecodeRequest open;
  for (int i = 1; i <= 128; ++i) {
    v1::OpenSequence& sequence = *open.mutable_batch()->add_opens();
    sequence.set_sequence_id(i);
    v1::SequenceState& state = *sequence.mutable_fresh()->mutable_state();
    state.mutable_tokens()->mutable_token_ids()->Resize(kMaxTokens - 2, i % kVocab);
  }
  v1::BatchResult result = stream.SendBatch(open);
  for (const auto& opened : result.opens()) ASSERT_FALSE(opened.has_error()) << opened.error().message();
  stream.SendBatch("opens { sequence_id: 129 }");
  // One more token each, and 128 of another sequence, fill it.
  result = stream.Step(128, kMaxTokens - 2);
  for (const auto& step : result.steps()) ASSERT_FALSE(step.has_error()) << step.error().message();
  for (int i = 0; i < 128; ++i) {
    const v1::StepResult& step = result.steps(i);
    open.mutable_batch()->mutable_opens(i)->mutable_fresh()->mutable_state()->mutable_tokens()->add_token_ids(
        step.chosen().tokens(0).token_id());
  }
  v1::DecodeRequest last;
  last.mutable_batch()->add_opens()->set_sequence_id(130);
  last.mutable_batch()
      ->mutable_opens(0)
      ->mutable_fresh()
      ->mutable_state()
      ->mutable_tokens()
      ->mutable_token_ids()
      ->Resize(129, 0);
  EXPECT_EQ(Describe(stream.SendBatch(last).opens(0).error()),
            "LIMIT_EXCEEDED of batch.opens[0].fresh.state.tokens.token_ids");
  last.mutable_batch()
      ->mutable_opens(0)
      ->mutable_fresh()
      ->mutable_state()
      ->mutable_tokens()
      ->mutable_token_ids()
      ->Resize(128, 0);
  EXPECT_FALSE(stream.SendBatch(last).opens(0).has_error()) << "it is full to the last byte";
  v1::DecodeRequest step;
  step = Parse<v1::DecodeRequest>(R"(batch { blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 16 }
                                             steps { sequence_id: 129 } })");
  step.set_payload(Bytes(std::vector<float>(kVocab, 0)));
  const v1::Error error = stream.SendBatch(step).steps(0).error();
  EXPECT_EQ(error.limit(), "max_stream_state_bytes");
  EXPECT_EQ(
      error.message(),
      "batch.steps[0].sequence_id must be in [0, 67108864] bytes of the sets, lists, prompts and tokens of the open "
      "sequences, got 67108868");
  // All of it fits another stream.
  Stream other(config);
  result = other.SendBatch(open);
  for (const auto& opened : result.opens()) EXPECT_FALSE(opened.has_error()) << opened.error().message();
  EXPECT_FALSE(other.SendBatch(last).opens(0).has_error());
}

TEST(DecodeResumeTest, TokensThatNoStageLooksAtAreNotKept) {
  Stream stream("sampling { temperature: 0.7 }");
  v1::DecodeRequest open = Parse<v1::DecodeRequest>("batch { opens { sequence_id: 1 } opens { sequence_id: 2 } }");
  open.mutable_batch()
      ->mutable_opens(0)
      ->mutable_fresh()
      ->mutable_state()
      ->mutable_tokens()
      ->mutable_token_ids()
      ->Resize(100'000, 0);
  open.mutable_batch()->mutable_opens(1)->mutable_fresh()->mutable_state()->set_token_count(100'000);
  stream.SendBatch(open);
  const int64_t held = stream.held_bytes();
  EXPECT_LT(held, 4096);
  for (int position = 0; position < 100; ++position) stream.Step(2, 100'000 + position);
  EXPECT_EQ(stream.held_bytes(), held);
}

}  // namespace
}  // namespace logitd::server
